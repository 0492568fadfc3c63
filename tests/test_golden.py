"""Numbers that stay: all that is shown of the frozen runs in tests/golden, held by their ids.

``python tests/test_golden.py`` writes the wording of each section again (tests/golden/wording), and
with ``--numbers`` the numbers too: a commit that changes one says which and why.
"""

import json
import math
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from loadgen_study.submission.tree import build_submission

GOLDEN = Path(__file__).parent / "golden"
sys.path.append(str(GOLDEN))
import figures  # noqa: E402

pytestmark = pytest.mark.slow

RUNS = ("default", "explore", "offline", "openai", "served")
SUBMITTED, COMPARED = ("default", "offline"), ("default", "served", "offline")


def shown(folder: Path, name: str) -> dict[str, figures.Value]:
    """The numbers of a run, of "comparison" or of "submission", from copies under ``folder``."""
    runs = folder / "runs"
    if not runs.exists():
        shutil.copytree(GOLDEN / "runs", runs)
    if name == "comparison":
        return figures.comparison_of([runs / each for each in COMPARED])
    if name == "submission":
        out = folder / "submission"
        build_submission([runs / each for each in SUBMITTED], out, "open", "me", "box")
        return figures.submission_of(out)
    return figures.figures_of(runs / name)


def wording(folder: Path) -> dict[str, str]:
    """By section, what the report of each frozen run says in it."""
    runs = folder / "runs"
    if not runs.exists():
        shutil.copytree(GOLDEN / "runs", runs)
    said = {name: figures.wording_of(runs / name) for name in RUNS}
    return {
        section: "\n".join(f"# {name}\n\n{of[section]}\n" for name, of in said.items())
        for section in figures.SECTIONS
    }


def differences(found: dict[str, figures.Value], known: dict[str, figures.Value]) -> list[str]:
    """What is not the same: another number at an id, an id too few or too many."""
    told = []
    for at in sorted(known.keys() | found.keys()):
        one, two = known.get(at), found.get(at)
        if isinstance(one, float) and isinstance(two, float):
            same = math.isclose(one, two, rel_tol=1e-9, abs_tol=1e-12)
        else:
            same = one == two and (at in known) == (at in found)
        if not same:
            told.append(f"{at}: {one} was, {two} is")
    return told


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")


@pytest.mark.parametrize("name", [*RUNS, "comparison", "submission"])
def test_numbers_are_what_they_were(name, copies):
    known = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert not differences(shown(copies, name), known)


def test_a_changed_number_is_seen():
    known = {"a": 1.0, "b": None, "c": "7 of 8"}
    assert differences(known, known) == []
    assert len(differences({**known, "a": 1.0000001}, known)) == 1
    assert len(differences({"a": 1.0, "c": "7 of 9", "d": 1.0}, known)) == 3


@pytest.fixture(scope="module")
def said(copies: Path) -> dict[str, str]:
    return wording(copies)


@pytest.mark.parametrize("section", figures.SECTIONS)
def test_wording_is_what_was_read_and_approved(section, said):
    known = (GOLDEN / "wording" / f"{section}.md").read_text(encoding="utf-8")
    assert said[section] == known


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for section, text in wording(Path(place)).items():
            (GOLDEN / "wording" / f"{section}.md").write_text(text, encoding="utf-8")
        for each in (*RUNS, "comparison", "submission") if "--numbers" in sys.argv else ():
            text = json.dumps(shown(Path(place), each), indent=0, sort_keys=True)
            (GOLDEN / f"{each}.json").write_text(text + "\n", encoding="utf-8")

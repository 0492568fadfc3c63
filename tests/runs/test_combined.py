import math

import pandas as pd
import pytest
from helpers import write_facts

from loadgen_study import Run, RunParams
from loadgen_study.facts.scores import Variant
from loadgen_study.report.sections import tuning
from loadgen_study.runs.tuning import best_of_each, combination, helped, outcome

NAN = math.nan
COLUMNS = ["tokens_per_s", "ci_low", "ci_high", "verdict", "rules"]


def table(**changed):
    """A tuning in which two values of one parameter and one of another helped."""
    rows = {
        "baseline": (100.0, NAN, NAN, "VALID", "kept"),
        "max_num_seqs=64": (120.0, NAN, NAN, "VALID", "kept"),
        "max_num_seqs=128": (130.0, NAN, NAN, "VALID", "kept"),
        "dtype=float16": (110.0, NAN, NAN, "VALID", "kept"),
        "seed": (106.0, NAN, NAN, "VALID", "kept"),
        "baseline again": (104.0, NAN, NAN, "VALID", "kept"),
    } | changed
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)
    return frame.assign(ratio=frame["tokens_per_s"] / 102)


@pytest.fixture
def run(tmp_path):
    folder = write_facts(tmp_path / "run", RunParams())
    variants = {"baseline": {}, "max_num_seqs=64": {"max_num_seqs": 64},
                "max_num_seqs=128": {"max_num_seqs": 128},
                "dtype=float16": {"dtype": "float16"}}  # fmt: skip
    for place, (title, changes) in enumerate(variants.items()):
        (folder / "tune" / f"{place:02d}").mkdir(parents=True)
        path = folder / "tune" / f"{place:02d}" / "variant.json"
        Variant(title=title, changes=changes).write(path)
    return Run.open(folder)


def test_help_is_more_than_the_baselines_differ():
    # 104 + 4 is the least; 106 may be chance.
    assert helped(table()) == ["max_num_seqs=128", "max_num_seqs=64", "dtype=float16"]
    assert helped(table(baseline=(NAN, NAN, NAN, "", "kept"))) == []


@pytest.mark.parametrize(
    "row",
    [
        (120.0, 103.0, 130.0, "VALID", "kept"),  # its interval meets the baseline's
        (120.0, 112.0, 130.0, "INVALID", "kept"),
        (120.0, 112.0, 130.0, "VALID", "Prefix caching"),
        (NAN, NAN, NAN, "", "kept"),
    ],
)
def test_what_is_no_help(row):
    known = {"max_num_seqs=64": row, "baseline": (100.0, 96.0, 105.0, "VALID", "kept")}
    assert "max_num_seqs=64" not in helped(table(**known))


def test_the_best_value_of_each_parameter_is_combined(run):
    whole = combination(best_of_each(run, table()))
    assert whole.title == "combined: max_num_seqs=128, dtype=float16"
    assert whole.changes == {"max_num_seqs": 128, "dtype": "float16"}
    alone = table(**{"dtype=float16": (90.0, NAN, NAN, "VALID", "kept")})
    assert combination(best_of_each(run, alone)) is None
    assert outcome(run, alone).best == "max_num_seqs=128"


@pytest.mark.parametrize(
    ("rate", "words"),
    [(143.0, "Together +40.2 %."), (120.0, "less than max_num_seqs=128 alone")],
)
def test_the_combination_is_held_against_the_best_value_alone(run, rate, words):
    title = combination(best_of_each(run, table())).title
    whole = table(**{title: (rate, NAN, NAN, "VALID", "kept")})
    found = outcome(run, whole)
    assert found.best == (title if rate > 130 else "max_num_seqs=128")
    assert words in tuning.outcome_text(run, whole)
    assert combination(best_of_each(run, whole)).title == title


def test_nothing_helped(run):
    slow = (101.0, NAN, NAN, "VALID", "kept")
    none = table(**dict.fromkeys(["max_num_seqs=64", "max_num_seqs=128", "dtype=float16"], slow))
    assert combination(best_of_each(run, none)) is None
    assert outcome(run, none).best is None
    assert "Nothing helped" in tuning.outcome_text(run, none)
    assert tuning.outcome_text(run, none.iloc[:0]) == ""

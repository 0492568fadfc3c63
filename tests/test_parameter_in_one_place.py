"""A parameter is declared once: its field says what all others need to know of it."""

from dataclasses import replace

import pytest
from helpers import RESULT, seed_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.params import NOT_KNOWN, as_markdown
from loadgen_study.report.parameters import parameters_table
from loadgen_study.report.sections import configuration
from loadgen_study.results.identity import difference, identity
from loadgen_study.runs.compare import changed_table, digest
from vllm_loadgen import ParameterError
from vllm_loadgen.params import VLLM, of_engine

NAME = "swap_space_gib"
SERVER = {"engine": "openai", "base_url": "http://host:8000"}


class Wider(RunParams):
    swap_space_gib: int = of_engine(4, *VLLM, ge=0)
    """memory of the CPU for what does not fit into the GPU's cache,
    GiB"""


MEANING = "memory of the CPU for what does not fit into the GPU's cache, GiB"


@pytest.fixture
def run(tmp_path):
    def made(name, swap_space_gib=4, **changes):
        folder = write_facts(tmp_path / name, RunParams(**changes))
        write_test(folder / "performance", RESULT, seed_records())
        return replace(Run.open(folder), params=Wider(swap_space_gib=swap_space_gib, **changes))

    return made


def test_it_is_in_the_tables_of_all_parameters_with_its_group():
    engine = as_markdown(Wider).split("**The engine**")[1].split("**What it costs")[0]
    assert f"| `{NAME}` | `4` | {MEANING} |" in engine
    assert NAME not in as_markdown()
    table = parameters_table(Wider(swap_space_gib=8))
    assert table.loc[NAME].tolist() == ["8", "changed", MEANING]
    assert table.index[-1] == "run_name"


def test_it_is_shown_and_compared(run):
    one, other = run("a"), run("b", swap_space_gib=8)
    assert configuration.table(one).loc[NAME, "given"] == 4
    assert changed_table([digest(one), digest(other)]).loc[NAME].tolist() == ["4", "8"]
    facts = one.model, one.dataset, one.environment
    made, asked = (identity("performance", each.params, *facts) for each in (one, other))
    assert difference(made, asked) == f"{NAME} = 4, not 8"


def test_tune_varies_it_and_checks_its_values():
    assert Wider.from_dict({"tune": {NAME: [2, 8]}}).tune == {NAME: [2, 8]}
    with pytest.raises(ParameterError, match=rf"tune\.{NAME}.*greater than or equal to 0"):
        Wider.from_dict({"tune": {NAME: [-1]}})


def test_a_server_that_runs_already_has_its_own(run):
    with pytest.raises(ParameterError, match=f"{NAME} = 8: belongs to the server"):
        Wider.from_dict(SERVER | {NAME: 8})
    with pytest.raises(ParameterError, match="cannot be varied"):
        Wider.from_dict(SERVER | {"tune": {NAME: [2, 8]}})
    served = run("a", engine="openai", base_url=["http://host:8000"])
    assert served.params.known()[NAME] is None
    assert configuration.table(served).loc[NAME].tolist() == ["", NOT_KNOWN]

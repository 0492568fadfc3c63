"""What the report says of answers, token by token."""

import pytest
from helpers import write_facts

from loadgen_study import Run, RunParams
from loadgen_study.facts.scores import Accuracy, AccuracyVerdict, Estimate, Fidelity, Score
from loadgen_study.report import quality
from loadgen_study.runs.quality import AnswerComparison

MEASURED = Fidelity(
    answers=64, identical=10, same_tokens_median=31.5, forced_tokens=7901,
    agreement=Estimate(value=0.98684, low=0.98431, high=0.98937),
    logprob_difference=Estimate(value=-0.00041, low=-0.001, high=0.0002), duration_s=27.0,
)  # fmt: skip


@pytest.fixture
def shown(tmp_path):
    """The section on accuracy, its sentences and its last table, of a run with these facts."""

    def made(**facts):
        score = Score(rouge1=1, rouge2=1, rougeL=1, rougeLsum=1, gen_len=1, gen_num=1)
        verdict = AccuracyVerdict(status="INCONCLUSIVE", against="x", samples_needed=571)
        folder = write_facts(tmp_path / "run", RunParams())
        (folder / "accuracy").mkdir()
        found = Accuracy(score=score, verdict=verdict, **facts)
        found.write(folder / "accuracy" / "accuracy.json")
        parts = quality.accuracy(Run.open(folder)).parts
        return " ".join(part for part in parts if isinstance(part, str)), parts[-1]

    return made


def test_figures_come_with_their_intervals(shown):
    text, table = shown(fidelity=MEASURED)
    assert "98.68 [98.43, 98.94] % of the 7,901 tokens" in text
    assert "-0.0004 [-0.0010, +0.0002] nats a token" in text
    assert "between two engines" in text
    assert table["value"].to_dict() == {
        "identical answers": "10 of 64",
        "the others part after, tokens (median)": "31.5",
        "tokens of the reference's answers": "7,901",
        "of them the engine's first choice, %": "98.68 [98.43, 98.94]",
        "log-probability, nats a token": "-0.0004 [-0.0010, +0.0002]",
        "to ask for it took, s": "27",
    }


def test_why_there_are_none_is_said(shown):
    text, table = shown(fidelity=Fidelity(answers=4, identical=4, problem="no *reason*"))
    assert r"were not scored: no \*reason\*." in text
    assert table["value"].to_dict() == {"identical answers": "4 of 4"}


def test_without_answers_to_compare_with(shown):
    text, _ = shown(no_fidelity="the baseline has none")
    assert "not compared token by token: the baseline has none." in text


def test_an_old_run_says_nothing_of_it(shown):
    text, _ = shown()
    assert text.startswith("**INCONCLUSIVE**: ")
    assert "token" not in text


def test_runs_without_answers_are_a_row_with_the_reason():
    runs = [AnswerComparison("b", problem="not compared: other data")]
    assert quality.beside_table(runs).loc["b"].tolist() == ["not compared: other data"]
    assert quality.beside_text([]) == ""
    assert quality.beside_table([]).empty

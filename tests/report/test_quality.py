"""What the report says of answers, token by token."""

import pytest
from helpers import write_facts

from loadgen_study import Run, RunParams
from loadgen_study.facts.scores import Accuracy, AccuracyVerdict, Estimate, Fidelity, Score
from loadgen_study.report.sections import accuracy, answers
from loadgen_study.runs.quality import AnswerComparison

MEASURED = Fidelity(
    answers=64, identical=10, same_tokens_median=31.5, forced_answers=64, forced_tokens=7901,
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
        parts = accuracy.section(Run.open(folder)).parts
        return " ".join(part for part in parts if isinstance(part, str)), parts[-1]

    return made


def test_figures_come_with_their_intervals(shown):
    text, table = shown(fidelity=MEASURED)
    assert "64 of 64 reference answers (7,901 tokens" in text
    assert "No measurable loss" in text
    assert table["value"].to_dict() == {
        "identical answers": "10 of 64",
        "first divergence, tokens (median)": "31.5",
        "next-token agreement, %": "98.68 [98.43, 98.94]",
        "log-probability difference, nats a token": "-0.0004 [-0.0010, +0.0002]",
        "scoring time, s": "27",
    }


def test_an_interval_below_0_is_a_loss(shown):
    lower = Estimate(value=-0.004, low=-0.006, high=-0.002)
    text, _ = shown(fidelity=MEASURED.model_copy(update={"logprob_difference": lower}))
    assert "**Quality loss**" in text


def test_why_there_are_none_is_said(shown):
    text, table = shown(fidelity=Fidelity(answers=4, identical=4, problem="no *reason*"))
    assert r"were not scored: no \*reason\*." in text
    assert table["value"].to_dict() == {"identical answers": "4 of 4"}


def test_without_answers_to_compare_with(shown):
    text, _ = shown(no_fidelity="the baseline has none")
    assert "Not compared token by token: the baseline has none." in text


def test_an_old_run_says_nothing_of_it(shown):
    text, _ = shown()
    assert text.startswith("**INCONCLUSIVE**: ")
    assert "token" not in text


def test_runs_without_answers_are_a_row_with_the_reason():
    runs = [AnswerComparison("b", problem="not compared: other data")]
    assert answers.table(runs).loc["b"].tolist() == ["not compared: other data"]
    assert answers.text([]) == ""
    assert answers.table([]).empty

"""The answers of runs side by side, and the reference's answers in a run's accuracy test."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import CONDITIONS, write_facts

from loadgen_study import LiveRun, Run, RunParams
from loadgen_study.accuracy import baseline, fidelity
from loadgen_study.facts.scores import Accuracy, AccuracyVerdict, Baseline, Forced, Score, Variant
from loadgen_study.report.report import Report
from loadgen_study.report.sections import answers
from loadgen_study.runs import quality, scoring
from loadgen_study.runs.compare import Digest
from loadgen_study.scorers.rouge import ROUGE_NAMES
from vllm_loadgen.errors import BenchmarkError, EngineError
from vllm_loadgen.harness.session import Session

SCORE = Score(rouge1=1, rouge2=1, rougeL=1, rougeLsum=1, gen_len=1, gen_num=1)


def scored(folder, rouge1, agreed=None, **dataset):
    """A run whose accuracy test has these scores (0 to 1), and agreed at so many of 10 tokens."""
    write_facts(folder, RunParams(), dataset={"samples": len(rouge1)} | dataset)
    frame = pd.DataFrame({"sample_index": range(len(rouge1)), "rouge1": rouge1})
    frame["scorable"] = True
    frame["summary"] = [f"*answer* {value:.2f}" for value in rouge1]
    (folder / "accuracy").mkdir()
    frame.to_parquet(folder / "accuracy" / "scores.parquet")
    verdict = AccuracyVerdict(status="NO BASELINE", against="nothing")
    Accuracy(score=SCORE, verdict=verdict).write(folder / "accuracy" / "accuracy.json")
    if agreed is not None:
        count = len(rouge1)
        Forced(answers_sha256="ab", tokens=[10] * count, agreed=[agreed] * count,
               logprob_difference=[agreed / 10 - 1] * count).write(
            folder / "accuracy" / fidelity.FORCED)  # fmt: skip
    return Run.open(folder)


GOOD = [0.3, 0.4, 0.5, 0.4]


def digests(*runs):
    figures = {name: (1.0, None, None) for name in
               ("samples_per_s", "tokens_per_s", "ttft_ms", "tpot_ms", "latency_ms")}  # fmt: skip
    known = {"params": {}, "verdict": None, "rouge1": None, "figures": figures,
             "conditions": CONDITIONS, "quantiles": {}}  # fmt: skip
    return [Digest(name=run.folder.name, folder=run.folder, **known) for run in runs]


def test_a_loss_is_marked_and_its_worst_answer_shown(tmp_path):
    good = scored(tmp_path / "good", GOOD, 10)
    bad = scored(tmp_path / "bad", [0.1, 0.05, 0.1, 0.12], 6)
    parts = Report(good, digests(good, bad)).comparison().parts
    table = next(part for part in parts if "ROUGE-1, points" in getattr(part, "columns", ()))
    assert table.loc["bad", "ROUGE-1, points"].startswith("-30.75 [")
    assert table.loc["bad", "ROUGE-1, points"].endswith("]*")
    assert table.loc["bad", "first choices, % points"] == "-40.00 [-40.00, -40.00]*"
    assert table.loc["bad", "most changed"] == "sample 2: 50.0 to 10.0"
    text = " ".join(part for part in parts if isinstance(part, str))
    assert "Most changed: bad, sample 2, ROUGE-1 50.0 to 10.0." in text
    assert r"> Before: \*answer\* 0.50" in text


def test_a_difference_by_chance_is_not_marked(tmp_path):
    good = scored(tmp_path / "good", GOOD)
    other = scored(tmp_path / "other", [0.35, 0.35, 0.55, 0.35])
    (found,) = quality.compared(digests(good, other))
    assert found.difference.score.low < 0 < found.difference.score.high
    assert found.difference.agreement is None


def test_what_cannot_be_compared_says_so(tmp_path):
    good = scored(tmp_path / "good", GOOD)
    other = scored(tmp_path / "other", GOOD, checksum="sha256:dd")
    same = scored(tmp_path / "same", GOOD)
    bare = Run.open(write_facts(tmp_path / "bare", RunParams()))
    found = quality.compared(digests(good, other, bare, same))
    assert [one.problem for one in found] == [quality.OTHER_DATA, quality.NOT_SCORED, ""]
    assert found[2].difference.most_changed is None
    assert quality.compared(digests(bare, good)) == []
    assert quality.compared([]) == []


def test_a_tuning_is_compared_with_the_run_as_it_is(tmp_path):
    run = Run.open(write_facts(tmp_path / "run", RunParams()))
    values = {"baseline": GOOD, "dtype=x": [0.1] * 4, "max_num_seqs=4": GOOD}
    for number, (title, rouge1) in enumerate(values.items()):
        folder = run.folder / "tune" / f"{number:02d}"
        scored(folder, rouge1)
        Variant(title=title).write(folder / "variant.json")
    found = quality.tuned(run)
    assert [one.title for one in found] == ["dtype=x", "max_num_seqs=4"]
    assert found[0].difference.score.high < 0
    assert found[1].difference.score.value == 0


def imitated_baseline(live, monkeypatch, tmp_path) -> None:
    """A stored baseline of a run's data whose answers are the echo engine's but for one token."""
    path = tmp_path / "baseline.json"
    answers = [list(prompt[: live.params.max_new_tokens]) for prompt in live.samples.prompts]
    answers[1][3] += 1
    tokens = sum(map(len, answers))
    score = SCORE | {"gen_tok_len": tokens}
    key = baseline.baseline_key(live.model, live.samples.facts, live.params)
    stored = Baseline(key=key, score=score, provenance={})
    logprobs = [list(np.full(len(answer), -0.5)) for answer in answers]
    baseline.save_baseline(stored, baseline.Answers(answers, logprobs), path)
    for name in ("load_baseline", "load_answers"):
        real = getattr(baseline, name)
        monkeypatch.setattr(baseline, name, lambda *what, real=real: real(*what, path))
    monkeypatch.setattr(fidelity, "load_answers", baseline.load_answers)


@pytest.mark.process
def test_an_accuracy_test_is_held_against_the_stored_answers(params, monkeypatch, tmp_path):
    with LiveRun.start(params.changed(scenario="Offline")) as live:
        imitated_baseline(live, monkeypatch, tmp_path)
        live.once("accuracy", "accuracy")
        live.once("performance")  # the engine is loaded still
    live.score()
    found = live.read().accuracy.fidelity
    assert (found.answers, found.identical, found.same_tokens_median) == (16, 15, 3)
    assert found.problem == "this engine does not tell how likely a token is"
    shown = " ".join(part for part in Report(live.read()).accuracy().parts if isinstance(part, str))
    assert "were not scored: this engine does not tell" in shown


@pytest.mark.process
def test_answers_to_references_without_a_token_for_rouge_never_pass(params, monkeypatch, capsys):
    path = Path(params.dataset)
    rows = [
        json.loads(line) | {"highlights": "建桥。"}
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with LiveRun.start(params.changed(scenario="Offline")) as live:
        assert "ROUGE cannot score any reference" in capsys.readouterr().out
        live.once("accuracy", "accuracy")
    length = int(live.score()["summary"].str.len().sum())
    nothing = SCORE | dict.fromkeys(ROUGE_NAMES, 0.0) | {"gen_len": length, "gen_num": 16}
    known = Baseline(key=scoring.baseline_key(live), score=nothing, provenance={})
    monkeypatch.setattr(baseline, "load_baseline", lambda *_: known)
    assert not live.score()["scorable"].any()
    run = live.read()
    assert run.accuracy.verdict.status == run.summary.tests["accuracy"].verdict == "INCONCLUSIVE"
    assert (run.score, run.dataset.unscorable_references) == (None, 16)
    found = quality.compare_answers([("one", run), ("other", run)])
    assert answers.table(found).loc["other", "ROUGE-1, points"] == "cannot be scored"


@pytest.mark.process
def test_an_engine_that_dies_of_the_scoring_leaves_the_test_whole(params, monkeypatch, tmp_path):
    def die(session, *_, **__):
        session.close()
        raise EngineError(f"the engine's process ended; its log is {tmp_path}/engine.log.\nMore")

    monkeypatch.setattr(Session, "score", die)
    with LiveRun.start(params.changed(scenario="Offline")) as live:
        imitated_baseline(live, monkeypatch, tmp_path)
        assert live.perform("accuracy").result.complete
        live.score()
        live.perform("performance")  # with an engine that is loaded anew
    text = (live.folder / "accuracy" / fidelity.FORCED).read_text()
    assert "the engine died of it: the engine's process ended" in text
    assert str(tmp_path) not in text


@pytest.mark.process
def test_answers_that_were_not_scored_are_scored_by_the_same_command(params, monkeypatch, tmp_path):
    params = params.changed(scenario="Offline")
    with LiveRun.start(params) as live:
        imitated_baseline(live, monkeypatch, tmp_path)
        test = live.perform("accuracy")
    (test.folder / fidelity.FORCED).unlink()  # it was interrupted after its queries
    with LiveRun.start(params) as live:
        assert live.once("accuracy", "accuracy").result == test.result
    assert Forced.read(test.folder / fidelity.FORCED).problem


@pytest.mark.process
def test_a_damaged_baseline_is_told_before_the_test(params, monkeypatch, tmp_path):
    with LiveRun.start(params.changed(scenario="Offline")) as live:
        imitated_baseline(live, monkeypatch, tmp_path)
        next(tmp_path.glob("baseline-*.parquet")).write_bytes(b"PAR1")
        with pytest.raises(BenchmarkError, match="cut short, or changed"):
            live.perform("accuracy")
        assert not live.read().has("accuracy")

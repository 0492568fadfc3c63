"""Tests judged: answers scored, compliance tests, and the reference engine's answers."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pandas as pd

from loadgen_study.accuracy import baseline, fidelity, scores
from loadgen_study.accuracy.clustered import repeats
from loadgen_study.accuracy.log import ACCURACY_LOG, Answer, check_answers
from loadgen_study.facts.results import TestSummary
from loadgen_study.facts.scores import Accuracy, Baseline, BaselineKey, Compliance, Forced, Score
from loadgen_study.facts.tables import write_frame
from loadgen_study.results.folders import portable
from loadgen_study.rules import compliance
from loadgen_study.rules.audit import Audited
from loadgen_study.rules.conformance import is_official
from loadgen_study.runs.curves import shown
from loadgen_study.runs.resume import answered_before, join_logs
from loadgen_study.runs.study import Study
from loadgen_study.scorers.unscored import UNSCORED, write_unscored
from vllm_loadgen.errors import EngineError
from vllm_loadgen.harness.session import Session
from vllm_loadgen.redact import scrub

PACKAGES = ("transformers", "torch", "tokenizers")  # of the reference engine
# The reference engine's answers, and their SHA-256.
Reference = tuple[baseline.Answers, str]


def baseline_key(run: Study) -> BaselineKey:
    """What a baseline of this run must have been made with."""
    data = run.samples_of("accuracy").facts
    return baseline.baseline_key(run.model, data, run.params.scored)


def verify(run: Study, name: str = "compliance") -> Compliance:
    """Judge a compliance test; writes compliance.json.

    Args:
        name: folder of the test.

    Raises:
        BenchmarkError: if its logs are damaged, or not of this test.
    """
    folder, scorer = run.folder / name, run.params.rules.task.scorer
    data = run.samples_of(name)

    def score_all(answers: Sequence[Answer]) -> Score:
        check_answers(answers, len(run.tokenizer), folder / ACCURACY_LOG)
        tokens = [answer.tokens for answer in answers]
        return scorer.totals(scores.score_tokens(tokens, data.targets, run.decode, scorer))

    audited = Audited(run.params.scenario, run.model.eos_token_ids, len(data), score_all)
    verdict = compliance.of_folder(run.params.rules, name).verify(folder, audited)
    verdict.write(folder / "compliance.json")
    run.note(name, TestSummary(verdict=verdict.status))
    return verdict


def score(run: Study) -> pd.DataFrame:
    """Score the accuracy test; writes accuracy.json and returns the scores by sample."""
    folder, found = run.folder / "accuracy", run.read()
    test = found.test("accuracy")
    if test.result.resumed_samples:
        join_logs(test, answered_before(run, folder, test.params))
    log = folder / ACCURACY_LOG
    data = run.samples_of("accuracy")
    answers = scores.answer_tokens(log, len(data), len(run.tokenizer))
    scorer = run.params.rules.task.scorer
    samples = scores.score_tokens(answers, data.targets, run.decode, scorer)
    if (clusters := repeats(data.prompts)) is not None:
        samples = samples.assign(cluster=clusters)
    total = scorer.totals(samples)
    key = baseline_key(run)
    known = baseline.load_baseline(key, scorer)
    if is_official(found):
        verdict = scores.official_verdict(total, run.params.rules)
    else:
        verdict = scores.baseline_verdict(scorer, total, known, samples, baseline.nearest(key))
    held, why_not = fidelity.against_baseline(folder, answers, known, clusters)
    accuracy = Accuracy(score=total, verdict=verdict, fidelity=held, no_fidelity=why_not)
    accuracy.write(folder / "accuracy.json")
    write_frame(folder / "scores.parquet", samples.drop(columns="reference"))
    write_unscored(scorer, samples, folder / UNSCORED)
    run.note("accuracy", TestSummary(score=total, verdict=verdict.status))
    return samples


def make_baseline(run: Study) -> Score:
    """Let the reference engine answer this run's samples; the result is stored for all runs.

    Raises:
        BenchmarkError: if transformers cannot load the model.
    """
    data, key, sampling = run.samples_of("accuracy"), baseline_key(run), run.params.sampling
    scorer = run.params.rules.task.scorer
    begin = datetime.now(UTC)
    answers = baseline.generate(
        run.model_path,
        data.prompts,
        key.max_new_tokens,
        key.min_new_tokens,
        run.model.eos_token_ids,
        baseline.BATCH_SIZE,
        run.params.trust_remote_code,
        sampling,
    )
    seconds = (datetime.now(UTC) - begin).total_seconds()
    scored = scores.score_tokens(answers.tokens, data.targets, run.decode, scorer)
    made = Baseline(
        key=key,
        score=scorer.totals(scored),
        samples={one.name: scored[one.name].round(6).tolist() for one in scorer.by_sample},
        provenance={
            "engine": "transformers",
            "dtype": "float32",
            "sampling": str(sampling),
            **({} if sampling.greedy else {"sampling_seed": sampling.seed}),
            "batch_size": baseline.BATCH_SIZE,
            "made_at": begin.isoformat(timespec="seconds"),
            "generation_s": round(seconds, 1),
            "packages": {name: metadata.version(name) for name in (*PACKAGES, *scorer.packages)},
        },
    )
    baseline.save_baseline(made, answers, baseline.EMBEDDED)
    return made.score


def reference(run: Study) -> Reference | None:
    """The reference engine's answers to this run's samples with their SHA-256, if stored."""
    known = baseline.load_baseline(baseline_key(run), run.params.rules.task.scorer)
    answers = baseline.load_answers(known) if known else None
    return (answers, known.answers_sha256) if known and answers else None


def force(
    run: Study, session: Callable[[], Session], folder: Path, known: Reference | None
) -> None:
    """Score the reference's answers by the loaded engine; writes forced.json.

    A failure is recorded, and the accuracy test counts; an engine that dies is loaded again.

    Args:
        session: gives the loaded engine. folder: of the accuracy test.
        known: of ``reference``; without it nothing is scored.
    """
    if known is None:
        return
    (answers, sha256), begin = known, time.monotonic()
    prompts = run.samples_of("accuracy").prompts
    rooms = [max(0, run.params.max_model_len - len(prompt) - 1) for prompt in prompts]
    # vLLM takes no prompt that leaves no room for a token.
    cut = [answer[:room] for room, answer in zip(rooms, answers.tokens, strict=True)]
    try:
        limit_s, loaded = run.params.stall_timeout_s, session()
        with shown("Scoring the reference's answers", len(cut)) as show:
            scored = loaded.score(prompts, cut, limit_s, fidelity.FORCED_MAX_S, on_progress=show)
        problem = scored.problem
    except EngineError as error:
        problem = f"the engine died of it: {str(error).splitlines()[0]}"
    if problem:
        result = Forced(problem=portable(scrub(problem)))
    else:
        result = fidelity.forced(scored.answers, answers, sha256, time.monotonic() - begin)
    result.write(folder / fidelity.FORCED)

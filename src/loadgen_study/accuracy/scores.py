"""LoadGen's accuracy log to text, to scores, to a verdict."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from loadgen_study.accuracy import clustered
from loadgen_study.accuracy.log import check_answers, one_per_sample, read_accuracy_log
from loadgen_study.benchmarks.record import Benchmark, Task
from loadgen_study.facts.inputs import Dataset
from loadgen_study.facts.scores import AccuracyStatus, AccuracyVerdict, Baseline, Comparison, Score
from loadgen_study.prose import markdown, render
from loadgen_study.scorers.scorer import STRICT, Metric, Scorer
from loadgen_study.scorers.unscored import unscored_text
from vllm_loadgen.errors import BenchmarkError

Ids = Sequence[int] | np.ndarray
Decode = Callable[[Sequence[Ids]], list[str]]


def scorable_rows(samples: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Of the samples of a test those that a metric can score."""
    return samples[samples["scorable"]].dropna(subset=[metric.name])


def unscorable_text(scorer: Scorer, count: int, samples: int) -> str:
    """How many of a dataset's references cannot be scored, as a sentence; empty if none."""
    if not count:
        return ""
    them = "any reference" if count == samples else f"{count:,} of {samples:,} references"
    return f"{scorer.title} cannot score {them}: {scorer.unscorable}."


def answer_tokens(log_path: Path, expected_samples: int, vocab_size: int) -> list[Ids]:
    """The ids of every sample's answer, by sample, as arrays of int32.

    Raises:
        BenchmarkError: if the log cannot be trusted (see accuracy_log) or is of other data.
    """
    answers = read_accuracy_log(log_path)
    check_answers(answers, vocab_size, log_path)
    return [answer.tokens for answer in one_per_sample(answers, expected_samples, log_path)]


def score_tokens(
    answers: Sequence[Ids],
    targets: Mapping[str, Sequence[str]],
    decode: Decode,
    scorer: Scorer,
) -> pd.DataFrame:
    """Text and scores of every sample: answer number i belongs to sample i.

    Args:
        targets: "reference" and the task's extra columns, each by sample.
        decode: lists of ids to texts, special tokens skipped.

    Returns:
        (samples,) rows as ``Scorer.score`` has them: sample_index, summary, reference,
        output_tokens, scorable, the extra columns and the scores.

    Raises:
        BenchmarkError: if there are fewer references than answers.
    """
    if len(references := targets["reference"]) < len(answers):
        raise BenchmarkError(
            f"{len(references)} references for {len(answers)} samples: "
            "score the log with the dataset of its run."
        )
    given = {name: values[: len(answers)] for name, values in targets.items()}
    samples = {
        "sample_index": range(len(answers)),
        "summary": decode(answers),
        "reference": given["reference"],
        "output_tokens": [len(tokens) for tokens in answers],
        "scorable": list(map(scorer.scorable, given["reference"])),
    }
    return scorer.score(pd.DataFrame(samples | given))


def sample_table(
    samples: pd.DataFrame,
    texts: Sequence[str],
    task: Task,
    rows: int = 2,
    text_chars: int = 300,
) -> pd.DataFrame:
    """The best, median and worst answers with their references, to be read by a human.

    Of samples whose references can be scored, unless none can.

    Args:
        samples: of ``score_tokens``.
        texts: the inputs, by sample index.
        rows: how many of each of the three kinds, fewer in a small dataset.
        text_chars: how much of a text is shown.

    Returns:
        kind ("best", "middle", "worst"), sample_index, the text under its column's name, reference,
        summary and the scores; by the main metric, falling.
    """
    metrics, main = task.scorer.by_sample, task.scorer.main
    known = scorable_rows(samples, main)
    ranked = (samples if known.empty else known).sort_values(
        main.name, ascending=False, kind="stable"
    )
    middle, worst = max(0, (len(ranked) - rows) // 2), max(0, len(ranked) - rows)
    kinds = {"best": ranked[:rows], "middle": ranked[middle:][:rows], "worst": ranked[worst:]}
    table = pd.concat(kinds, names=["kind"]).reset_index("kind").drop_duplicates("sample_index")
    text = task.data.text[0]
    table[text] = [_start(texts[index], text_chars) for index in table["sample_index"]]
    for metric in metrics:
        table[metric.name] *= metric.scale
    columns = ["kind", "sample_index", text, "reference", "summary"]
    return table[[*columns, *(metric.name for metric in metrics)]].reset_index(drop=True)


def _start(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[:chars].rsplit(" ", 1)[0] + " ..."


def official_verdict(score: Score, benchmark: Benchmark) -> AccuracyVerdict:
    """PASS or FAIL by the checker's limits, of the official model on the whole official dataset.

    INCONCLUSIVE if some answers are not scored here.
    """
    against = f"the official limits of {benchmark.name}"
    verdict = _verdict(benchmark.task.scorer, score, benchmark.score, against)
    if not unscored_text(score):
        return verdict
    return verdict.model_copy(update={"status": "INCONCLUSIVE"})


def baseline_verdict(
    scorer: Scorer,
    score: Score,
    baseline: Baseline | None,
    samples: pd.DataFrame | None = None,
    nearest: str = "",
) -> AccuracyVerdict:
    """PASS or FAIL against what the reference engine scores on this model and data.

    INCONCLUSIVE where nothing fails and a metric cannot be decided: the baseline's is 0, or the
    interval of a ratio holds a limit, or is not known since the baseline is mostly 0.

    Args:
        baseline: None if there is none for this model and data.
        samples: of ``score_tokens``; with them each metric by sample gets an interval.
        nearest: of ``baseline.nearest``, where there is no baseline.
    """
    if baseline is None:
        against = "nothing: no baseline of this model and data is stored"
        if nearest:
            against += f" (that of this model has another {nearest})"
        return AccuracyVerdict(status="NO BASELINE", against=against)
    decoding = "sampled" if baseline.key.temperature else "greedy"
    against = f"the baseline (transformers, float32, {decoding})"
    verdict = _verdict(scorer, score, baseline.score, against)
    if samples is None or not baseline.samples:
        return verdict
    # One metric alone fails a run: each has an interval so wide that in 95 of 100 runs all of them
    # hold (Bonferroni).
    level = 1 - 0.05 / sum(bool(metric.limits) for metric in scorer.by_sample)
    rows = tuple(
        _with_interval(row, samples, baseline, level)
        if scorer.metric(row.metric).by_sample
        else row
        for row in verdict.comparisons
    )
    status = _status([_kept(scorer, row) for row in rows])
    known: dict[str, object] = {"status": status, "comparisons": rows, "interval_level": level}
    if status == "INCONCLUSIVE" and all(row.decides for row in rows):
        needed = max(_samples_needed(scorer, row, len(samples)) for row in rows)
        known["samples_needed"] = needed or None
    return verdict.model_copy(update=known)


def _status(met: Sequence[bool | None]) -> AccuracyStatus:
    """The verdict on metrics that are met, not met, or (None) cannot be decided."""
    if False in met:
        return "FAIL"
    return "INCONCLUSIVE" if None in met else "PASS"


def _kept(scorer: Scorer, row: Comparison) -> bool | None:
    """Whether a metric keeps its limits; None if these samples cannot decide."""
    metric = scorer.metric(row.metric)
    if not row.decides:
        return None
    if row.interval is None:  # of scores by sample: too few of the baseline's are above 0
        return None if metric.by_sample else row.met
    low, high = row.interval
    return None if any(low < limit <= high for limit in metric.limits) else row.met


def _samples_needed(scorer: Scorer, row: Comparison, samples: int) -> int:
    """How many samples it takes until the interval of an engine without loss excludes the limits.

    Its width falls with the square root of their number.
    """
    if row.interval is None:
        return 0
    half = (row.interval[1] - row.interval[0]) / 2
    room = min(abs(1 - limit) for limit in scorer.metric(row.metric).limits)
    return math.ceil(samples * (half / room) ** 2)


def _verdict(
    scorer: Scorer, score: Score, reference: Mapping[str, int | float], against: str
) -> AccuracyVerdict:
    """The metrics' own limits decide, not the stricter ones."""
    comparisons = [
        _compare(metric, score.get(metric.name, math.nan), reference[metric.name])
        for metric in scorer.metrics
        if metric.limits and metric.name in reference
    ]
    levels = {
        scorer.main.needed: all(row.met for row in comparisons),
        f"{STRICT * 100:g} %": all(row.met_99_9 for row in comparisons),
    }
    return AccuracyVerdict(
        status=_status([row.met if row.decides else None for row in comparisons]),
        against=against,
        levels=levels,
        comparisons=tuple(comparisons),
    )


def _with_interval(
    row: Comparison, samples: pd.DataFrame, baseline: Baseline, level: float
) -> Comparison:
    """A comparison with the interval of its ratio, run and baseline paired by sample.

    The ratio estimator of ``clustered.mean``: by Student's t it stays wide where samples are few,
    of which a bootstrap knows only what it has seen. There is none for fewer than
    ``clustered.FEWEST`` clusters, nor where the baseline's mean may be 0.
    """
    pairs = np.array([samples[row.metric], baseline.samples[row.metric]], float)
    pairs *= np.asarray(samples.get("weight", 1.0))
    known = ~np.isnan(pairs).any(axis=0)
    clusters = samples["cluster"][known] if "cluster" in samples else None
    actual, reference = pairs[:, known]
    two_sided = (1 + level) / 2
    of_baseline = clustered.mean(reference, np.ones(len(reference)), clusters, two_sided)
    ratio = clustered.mean(actual, reference, clusters, two_sided)
    if ratio.low is None or ratio.high is None or not (of_baseline.low or 0) > 0:
        return row
    return row.model_copy(update={"ratio_low": max(0.0, ratio.low), "ratio_high": ratio.high})


def chance(scorer: Scorer, verdict: AccuracyVerdict) -> str:
    """What the interval of a ratio decides, as a sentence; may be empty.

    It is about the first metric that decided the verdict or left it undecided.
    """
    rows = verdict.comparisons
    known = [(row, row.interval) for row in rows if row.interval]
    wanted = {"FAIL": False, "INCONCLUSIVE": None}.get(verdict.status, True)
    found = next((one for one in known if _kept(scorer, one[0]) is wanted), None)
    if found is None and verdict.status == "INCONCLUSIVE":
        lacking = [row for row in rows if row.decides and scorer.metric(row.metric).by_sample]
        names = _named(scorer, [row for row in lacking if row.interval is None])
        return f"The baseline scores above 0 in too few samples ({names})." if names else ""
    if (found := found or next(iter(known), None)) is None:
        return ""
    row, (low, high) = found
    limit = min(scorer.metric(row.metric).limits, key=lambda one: abs(one - low))
    return render(
        "accuracy/chance",
        metric=markdown(scorer.metric(row.metric).called),
        low=_percent(low, limit),
        high=_percent(high, limit),
        level=f"{verdict.interval_level * 100:.4g}",
        conclusive=_kept(scorer, row) is not None,
        needed=verdict.samples_needed and float(f"{verdict.samples_needed:.2g}"),
        side="above" if low >= limit else "below",
        limit=f"{limit * 100:g}",
    )


def undecided_text(scorer: Scorer, verdict: AccuracyVerdict) -> str:
    """Which metrics cannot be decided because the baseline scores 0; may be empty."""
    names = _named(scorer, verdict.undecided)
    return f"Undecided, since the baseline's own is 0: {names}." if names else ""


def _named(scorer: Scorer, rows: Sequence[Comparison]) -> str:
    return ", ".join(scorer.metric(row.metric).called for row in rows)


def _percent(ratio: float, limit: float) -> str:
    """A ratio in %, with digits enough to be seen on its side of the limit."""
    hidden = (d for d in (1, 2, 3) if ratio == limit or round(ratio, d + 2) != limit)
    return f"{ratio * 100:.{next(hidden, 4)}f}"


def _compare(metric: Metric, actual: int | float, reference: int | float) -> Comparison:
    required, met = metric.judged(actual, reference)
    required_99_9, met_99_9 = metric.judged(actual, reference, strict=True)
    return Comparison(
        metric=metric.name,
        actual=actual,
        reference=reference,
        ratio=actual / reference if reference else math.nan,
        required=required,
        required_99_9=required_99_9,
        met=met,
        met_99_9=met_99_9,
    )


def check_same_dataset(recorded: Dataset, current: Dataset) -> None:
    """Refuse to mix data or prompts in one run.

    Args:
        recorded: dataset.json of the run.
        current: facts of the data at hand.

    Raises:
        BenchmarkError: if checksum, number of samples or prompts differ.
    """
    for key in ("checksum", "samples"):
        was, now = getattr(recorded, key), getattr(current, key)
        if was != now:
            raise BenchmarkError(
                f"The dataset differs from the run's: {key} is {now}, the run recorded {was}. "
                "Give the run's dataset, or another run_name."
            )
    if recorded.prompts_sha256 != current.prompts_sha256:
        raise BenchmarkError(
            "The prompts differ from the run's, from the same dataset: the token ids have another "
            "SHA-256. Restore the chat template and tokenizer, or give another run_name."
        )

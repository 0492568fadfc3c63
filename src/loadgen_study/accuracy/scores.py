"""LoadGen's accuracy log to text, to ROUGE, to a verdict."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from loadgen_study.accuracy.log import check_answers, one_per_sample, read_accuracy_log
from loadgen_study.benchmarks import ROUGE_NAMES, Benchmark, ReferenceScore
from loadgen_study.facts.inputs import Dataset
from loadgen_study.facts.scores import AccuracyStatus, AccuracyVerdict, Baseline, Comparison, Score
from vllm_loadgen.errors import BenchmarkError

Decode = Callable[[list[list[int]]], list[str]]

BOOTSTRAPS = 2000
LEVELS = {"99 %": 0.99, "99.9 %": 0.999}
GEN_LEN_RANGE = (0.9, 1.1)
# What a reader calls the metrics.
NAMES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum",
         "gen_len": "the length of the answers", "gen_num": "their number"}  # fmt: skip
# Four scores are looked at, and one alone fails a run: each has an interval so wide that in 95 of
# 100 runs all four hold (Bonferroni).
INTERVAL_LEVEL = 1 - 0.05 / len(ROUGE_NAMES)
# rouge_score's tokens are made of these characters alone, in the text's lower case.
_TOKEN = re.compile("[a-z0-9]")


def scorable(reference: str) -> bool:
    """Whether ROUGE finds a token in a reference; without one every answer to it scores 0."""
    return _TOKEN.search(reference.lower()) is not None


def scorable_rows(samples: pd.DataFrame) -> pd.DataFrame:
    """Of the samples of a test those that ROUGE can score; of an older file, which does not
    record them, all.
    """
    return samples[samples["scorable"]] if "scorable" in samples else samples


def unscorable_text(count: int | None, samples: int) -> str:
    """How many of a dataset's references ROUGE cannot score, as a sentence; empty if none."""
    if not count:
        return ""
    them = "any reference" if count == samples else f"{count:,} of {samples:,} references"
    return (
        f"ROUGE cannot score {them}: no letter a to z and no digit is in them, so every answer "
        "scores 0."
    )


def score_samples(
    log_path: Path,
    references: Sequence[str],
    decode: Decode,
    expected_samples: int,
    vocab_size: int,
) -> pd.DataFrame:
    """Text and scores of every sample.

    Args:
        references: by sample index, at least ``expected_samples``.
        decode: lists of ids to texts, special tokens skipped.

    Returns:
        (samples,) rows by sample_index: summary, reference (stripped, a sentence a line),
        output_tokens, scorable, and rouge1, rouge2, rougeL, rougeLsum (F1, 0 to 1; 0 where the
        reference is not scorable, as MLCommons counts it).

    Raises:
        BenchmarkError: if the log cannot be trusted (see accuracy_log) or is of other data.
    """
    if len(references) < expected_samples:
        raise BenchmarkError(
            f"{len(references)} references for {expected_samples} samples: "
            "score the log with the dataset of its run."
        )
    tokens = answer_tokens(log_path, expected_samples, vocab_size)
    return score_tokens(tokens, references, decode)


def answer_tokens(log_path: Path, expected_samples: int, vocab_size: int) -> list[list[int]]:
    """The ids of every sample's answer, by sample.

    Raises:
        BenchmarkError: if the log cannot be trusted (see accuracy_log) or is of other data.
    """
    answers = read_accuracy_log(log_path)
    check_answers(answers, vocab_size, log_path)
    return [answer.tokens for answer in one_per_sample(answers, expected_samples, log_path)]


def score_tokens(
    answers: list[list[int]], references: Sequence[str], decode: Decode
) -> pd.DataFrame:
    """``score_samples`` of token ids: answer number i belongs to sample i."""
    from loadgen_study.accuracy import rouge  # evaluate takes seconds to import

    summaries = [rouge.sentences(text) for text in decode(answers)]
    targets = [rouge.sentences(text) for text in references[: len(answers)]]
    scores = rouge.rouge(summaries, targets)
    return pd.DataFrame(
        {
            "sample_index": range(len(answers)),
            "summary": summaries,
            "reference": targets,
            "output_tokens": [len(tokens) for tokens in answers],
            "scorable": list(map(scorable, targets)),
            **{name: scores[name] for name in ROUGE_NAMES},
        }
    )


def totals(samples: pd.DataFrame) -> Score:
    """The reference's figures: ROUGE mean * 100 rounded to 4, gen_len (characters), gen_num.

    Source: mlcommons/inference, language/llama3.1-8b/evaluation.py; gen_len counts the newlines
    between sentences too. gen_tok_len (ids, end of text included) is not among them.
    """
    means = {name: round(float(np.mean(samples[name])) * 100, 4) for name in ROUGE_NAMES}
    return Score(
        **means,
        gen_len=int(samples["summary"].str.len().sum()),
        gen_num=len(samples),
        gen_tok_len=int(samples["output_tokens"].sum()),
    )


def sample_table(
    samples: pd.DataFrame, articles: Sequence[str], rows: int = 2, article_chars: int = 300
) -> pd.DataFrame:
    """The best, median and worst summaries beside their references, to be read by a human.

    Of samples whose references ROUGE can score, unless it can score none.

    Args:
        samples: of ``score_samples``.
        articles: by sample index.
        rows: how many of each of the three kinds, fewer in a small dataset.
        article_chars: how much of an article is shown.

    Returns:
        kind ("best", "middle", "worst"), sample_index, article, reference, summary and the four
        scores (0 to 100), by descending rouge1.
    """
    known = scorable_rows(samples)
    ranked = (
        (samples if known.empty else known)
        .sort_values("rouge1", ascending=False, kind="stable")
        .reset_index(drop=True)
    )
    middle = max(0, (len(ranked) - rows) // 2)
    kinds = {"best": range(rows), "middle": range(middle, middle + rows)}
    kinds["worst"] = range(len(ranked) - rows, len(ranked))
    chosen: dict[int, str] = {}
    for kind, places in kinds.items():
        for place in places:
            if 0 <= place < len(ranked):
                chosen.setdefault(place, kind)
    table = ranked.loc[sorted(chosen)].copy()
    table.insert(0, "kind", [chosen[place] for place in table.index])
    starts = [_start(articles[index], article_chars) for index in table["sample_index"]]
    table.insert(2, "article", starts)
    table[list(ROUGE_NAMES)] *= 100
    columns = ["kind", "sample_index", "article", "reference", "summary", *ROUGE_NAMES]
    return table[columns].reset_index(drop=True)


def _start(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[:chars].rsplit(" ", 1)[0] + " ..."


def official_verdict(score: Score, benchmark: Benchmark) -> AccuracyVerdict:
    """PASS or FAIL by the checker's limits, of the official model on the whole official dataset."""
    return _verdict(score, benchmark.score, f"the official limits of {benchmark.name}")


def baseline_verdict(
    score: Score,
    baseline: Baseline | None,
    samples: pd.DataFrame | None = None,
    nearest: str = "",
) -> AccuracyVerdict:
    """PASS or FAIL against what the reference engine scores on this model and data.

    INCONCLUSIVE where nothing fails and a metric cannot be decided: the baseline's is 0, or the
    interval of a ROUGE ratio holds the limit, or is not known since the baseline is mostly 0.

    Args:
        baseline: None if there is none for this model and data.
        samples: of ``score_samples``; with them each ROUGE ratio gets its interval.
        nearest: in what the nearest baseline of this model differs, where there is none.
    """
    if baseline is None:
        against = "nothing: no baseline of this model and data is stored"
        if nearest:
            against += f" (that of this model has another {nearest})"
        return AccuracyVerdict(status="NO BASELINE", against=against)
    against = "the baseline (transformers, float32, greedy)"
    verdict = _verdict(score, baseline.score, against)
    if samples is None or not baseline.samples:
        return verdict
    rows = tuple(_with_interval(row, samples, baseline) for row in verdict.comparisons)
    known: dict[str, object] = {"comparisons": rows, "interval_level": INTERVAL_LEVEL}
    known["status"] = _status([None if _lacks_interval(row) else _surely_met(row) for row in rows])
    if known["status"] == "INCONCLUSIVE" and all(row.decides for row in rows):
        needed = max(_samples_needed(row, len(samples)) for row in rows)
        known["samples_needed"] = needed or None
    return verdict.model_copy(update=known)


def _status(met: Sequence[bool | None]) -> AccuracyStatus:
    """The verdict on metrics that are met, not met, or (None) cannot be decided."""
    if False in met:
        return "FAIL"
    return "INCONCLUSIVE" if None in met else "PASS"


def _lacks_interval(row: Comparison) -> bool:
    """Whether the baseline scores above 0 in so few samples that chance may leave none of them."""
    return row.metric in ROUGE_NAMES and row.decides and row.ratio_low is None


def _surely_met(row: Comparison) -> bool | None:
    """Whether a metric keeps the 99 % limit; None if these samples cannot tell."""
    if not row.decides:
        return None
    if row.ratio_low is None or row.ratio_high is None:
        return row.met
    limit = LEVELS["99 %"]
    return None if row.ratio_low < limit <= row.ratio_high else row.met


def _samples_needed(row: Comparison, samples: int) -> int:
    """With how many the interval of an engine that loses nothing would end above the limit.

    Its width falls with the square root of their number.
    """
    if row.ratio_low is None or row.ratio_high is None:
        return 0
    half = (row.ratio_high - row.ratio_low) / 2
    return math.ceil(samples * (half / (1 - LEVELS["99 %"])) ** 2)


def _verdict(score: Score, reference: Score | ReferenceScore, against: str) -> AccuracyVerdict:
    """The 99 % level decides."""
    comparisons = [
        *(_compare(name, getattr(score, name), getattr(reference, name)) for name in ROUGE_NAMES),
        _compare_length(score.gen_len, reference.gen_len),
        _compare_count(score.gen_num, reference.gen_num),
    ]
    levels = {
        "99 %": all(row.met for row in comparisons),
        "99.9 %": all(row.met_99_9 for row in comparisons),
    }
    return AccuracyVerdict(
        status=_status([row.met if row.decides else None for row in comparisons]),
        against=against,
        levels=levels,
        comparisons=tuple(comparisons),
    )


def _with_interval(row: Comparison, samples: pd.DataFrame, baseline: Baseline) -> Comparison:
    """A ROUGE comparison with how far chance may move its ratio over so few samples.

    The interval of the ratio of the means, by the bootstrap over samples, run and baseline paired
    by sample (Koehn, EMNLP 2004); none where a mean of the baseline may be 0.
    """
    if row.metric not in ROUGE_NAMES:
        return row
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(samples), size=(BOOTSTRAPS, len(samples)))
    actual = samples[row.metric].to_numpy()[drawn].mean(axis=1)
    reference = np.array(baseline.samples[row.metric])[drawn].mean(axis=1)
    if not reference.all():
        return row
    outside = (1 - INTERVAL_LEVEL) / 2
    low, high = np.quantile(actual / reference, [outside, 1 - outside])
    return row.model_copy(update={"ratio_low": float(low), "ratio_high": float(high)})


def chance(verdict: AccuracyVerdict) -> str:
    """What the samples can and cannot tell of a ROUGE ratio, as a sentence; may be empty.

    Of the first that decided the verdict, or left it open.
    """
    known = [row for row in verdict.comparisons if row.ratio_low is not None]
    wanted = {"FAIL": False, "INCONCLUSIVE": None}.get(verdict.status, True)
    row = next((row for row in known if _surely_met(row) is wanted), None)
    if row is None and verdict.status == "INCONCLUSIVE":
        names = ", ".join(NAMES[row.metric] for row in verdict.comparisons if _lacks_interval(row))
        return f"The baseline scores above 0 in too few samples ({names})." if names else ""
    row = row or next(iter(known), None)
    if row is None or row.ratio_low is None or row.ratio_high is None:
        return ""
    low, high = row.ratio_low, row.ratio_high
    span = f"{NAMES[row.metric]}: {_percent(low)} to {_percent(high)} %"
    level = f"{verdict.interval_level * 100:.4g} % interval over samples"
    if _surely_met(row) is None:
        needed = verdict.samples_needed
        enough = f"; about {float(f'{needed:.2g}'):,.0f} like these would do" if needed else ""
        return f"The samples are too few to be sure ({span}, {level}){enough}."
    side = "above" if low >= LEVELS["99 %"] else "below"
    return f"This is no chance of these samples ({span}, {level}, all {side} 99 %)."


def undecided_text(verdict: AccuracyVerdict) -> str:
    """Which metrics decide nothing since the baseline's is 0, as a sentence; may be empty."""
    names = ", ".join(NAMES[row.metric] for row in verdict.undecided)
    return f"Undecided, since the baseline's own is 0: {names}." if names else ""


def _percent(ratio: float) -> str:
    """A ratio in %, with digits enough to be seen on its side of the limit."""
    limit = LEVELS["99 %"]
    hidden = (d for d in (1, 2, 3) if ratio == limit or round(ratio, d + 2) != limit)
    return f"{ratio * 100:.{next(hidden, 4)}f}"


def _compare(metric: str, actual: float, reference: float) -> Comparison:
    limits = {name: reference * share for name, share in LEVELS.items()}
    return Comparison(
        metric=metric,
        actual=actual,
        reference=reference,
        ratio=actual / reference if reference else math.nan,
        required=f">= {limits['99 %']:.4f}",
        required_99_9=f">= {limits['99.9 %']:.4f}",
        met=bool(reference) and actual >= limits["99 %"],
        met_99_9=bool(reference) and actual >= limits["99.9 %"],
    )


def _compare_length(actual: int, reference: int) -> Comparison:
    """gen_len may differ by a tenth at either level, as the checker has it."""
    low, high = (reference * share for share in GEN_LEN_RANGE)
    required = f"{low:.1f} to {high:.1f}"
    met = bool(reference) and low <= actual <= high
    return _same_at_both("gen_len", actual, reference, required, met)


def _compare_count(actual: int, reference: int) -> Comparison:
    return _same_at_both("gen_num", actual, reference, f"= {reference}", actual == reference)


def _same_at_both(metric: str, actual: int, reference: int, required: str, met: bool) -> Comparison:
    return Comparison(
        metric=metric,
        actual=actual,
        reference=reference,
        ratio=actual / reference if reference else math.nan,
        required=required,
        required_99_9=required,
        met=met,
        met_99_9=met,
    )


def check_same_dataset(recorded: Dataset, current: Dataset) -> None:
    """Refuse to mix data or prompts in one run.

    Args:
        recorded: dataset.json of the run.
        current: facts of the data at hand.

    Raises:
        BenchmarkError: if checksum, number of samples or prompts differ, or the run's prompts are
            not known.
    """
    for key in ("checksum", "samples"):
        was, now = getattr(recorded, key), getattr(current, key)
        if was != now:
            raise BenchmarkError(
                f"The dataset differs from the run's: {key} is {now}, the run recorded {was}. "
                "Give the run's dataset, or another run_name."
            )
    if recorded.prompts_sha256 is None:
        raise BenchmarkError(
            "The run's prompts are not known: an earlier version made it. Give another run_name."
        )
    if recorded.prompts_sha256 != current.prompts_sha256:
        raise BenchmarkError(
            "The prompts differ from the run's, from the same dataset: the token ids have another "
            "SHA-256. Restore the chat template and tokenizer, or give another run_name."
        )

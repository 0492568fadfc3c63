"""LoadGen's accuracy log to text, to ROUGE, to a verdict."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vllm_loadgen.accuracy.log import check_answers, one_per_sample, read_accuracy_log
from vllm_loadgen.errors import BenchmarkError

Decode = Callable[[list[list[int]]], list[str]]

ROUGE_COLUMNS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
# What the full-precision reference scores on the official data (submission_checker v6.1,
# constants.py, accuracy-target before its factor of 0.99); gen_len is in characters.
OFFICIAL_DATACENTER = {
    "rouge1": 38.7792,
    "rouge2": 15.9075,
    "rougeL": 24.4957,
    "rougeLsum": 35.793,
    "gen_len": 8167644,
    "gen_num": 13368,
}
OFFICIAL_EDGE = {
    "rouge1": 39.06,
    "rouge2": 16.1147,
    "rougeL": 24.6375,
    "rougeLsum": 36.124,
    "gen_len": 3051113,
    "gen_num": 5000,
}
OFFICIAL = {
    "llama3_1-8b": OFFICIAL_DATACENTER,
    "llama3_1-8b-interactive": OFFICIAL_DATACENTER,
    "llama3_1-8b-edge": OFFICIAL_EDGE,
}
BOOTSTRAPS = 2000
LEVELS = {"99 %": 0.99, "99.9 %": 0.999}
GEN_LEN_RANGE = (0.9, 1.1)


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
        output_tokens, and rouge1, rouge2, rougeL, rougeLsum (F1, 0 to 1).

    Raises:
        BenchmarkError: if the log cannot be trusted (see accuracy_log) or is of other data.
    """
    if len(references) < expected_samples:
        raise BenchmarkError(
            f"{len(references)} references for {expected_samples} samples: "
            "score the log with the dataset of its run."
        )
    answers = read_accuracy_log(log_path)
    check_answers(answers, vocab_size, log_path)
    answers = one_per_sample(answers, expected_samples, log_path)
    return score_tokens([answer.tokens for answer in answers], references, decode)


def score_tokens(
    answers: list[list[int]], references: Sequence[str], decode: Decode
) -> pd.DataFrame:
    """``score_samples`` of token ids: answer number i belongs to sample i."""
    from vllm_loadgen.accuracy import rouge  # evaluate takes seconds to import

    summaries = [rouge.sentences(text) for text in decode(answers)]
    targets = [rouge.sentences(text) for text in references[: len(answers)]]
    scores = rouge.rouge(summaries, targets)
    return pd.DataFrame(
        {
            "sample_index": range(len(answers)),
            "summary": summaries,
            "reference": targets,
            "output_tokens": [len(tokens) for tokens in answers],
            **{name: scores[name] for name in ROUGE_COLUMNS},
        }
    )


def totals(samples: pd.DataFrame) -> dict[str, Any]:
    """The reference's figures: ROUGE mean * 100 rounded to 4, gen_len (characters), gen_num.

    Source: mlcommons/inference, language/llama3.1-8b/evaluation.py; gen_len counts the newlines
    between sentences too. gen_tok_len (ids, end of text included) is not among them.
    """
    return {
        **{name: round(float(np.mean(samples[name])) * 100, 4) for name in ROUGE_COLUMNS},
        "gen_len": int(samples["summary"].str.len().sum()),
        "gen_num": len(samples),
        "gen_tok_len": int(samples["output_tokens"].sum()),
    }


def score(
    log_path: Path,
    references: Sequence[str],
    decode: Decode,
    expected_samples: int,
    vocab_size: int,
) -> dict[str, Any]:
    """``totals`` of ``score_samples``: rouge1, rouge2, rougeL, rougeLsum, gen_len, ..."""
    return totals(score_samples(log_path, references, decode, expected_samples, vocab_size))


def sample_table(
    samples: pd.DataFrame, articles: Sequence[str], rows: int = 2, article_chars: int = 300
) -> pd.DataFrame:
    """The best, median and worst summaries beside their references, to be read by a human.

    Args:
        samples: of ``score_samples``.
        articles: by sample index.
        rows: how many of each of the three kinds, fewer in a small dataset.
        article_chars: how much of an article is shown.

    Returns:
        kind ("best", "middle", "worst"), sample_index, article, reference, summary and the four
        scores (0 to 100), by descending rouge1.
    """
    ranked = samples.sort_values("rouge1", ascending=False, kind="stable").reset_index(drop=True)
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
    table[list(ROUGE_COLUMNS)] *= 100
    columns = ["kind", "sample_index", "article", "reference", "summary", *ROUGE_COLUMNS]
    return table[columns].reset_index(drop=True)


def _start(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[:chars].rsplit(" ", 1)[0] + " ..."


def verdict(
    score: dict[str, Any], benchmark: str, official: bool, baseline: dict[str, Any] | None
) -> dict[str, Any]:
    """PASS or FAIL against what the full-precision reference scores.

    Args:
        score: of ``totals``.
        official: the official model answered the whole official dataset; then the checker's
            limits apply, else those of ``baseline``.
        baseline: of ``baseline.load_baseline``; None if there is none for this model and data.

    Returns:
        status ("PASS", "FAIL" or "NO BASELINE": the 99 % level decides), against, levels
        ({"99 %": bool, "99.9 %": bool}, empty without a baseline), comparisons (one dict a
        metric: metric, actual, reference, ratio, required, required_99_9, met, met_99_9; required
        is text such as ">= 38.3914").
    """
    if official:
        reference, against = OFFICIAL[benchmark], f"the official limits of {benchmark}"
    elif baseline is not None:
        reference, against = (baseline["score"], "the baseline (transformers, float32, greedy)")
    else:
        return {
            "status": "NO BASELINE",
            "against": "nothing: no baseline of this model and data is stored",
            "levels": {},
            "comparisons": [],
        }
    comparisons = [_compare(name, score[name], reference[name]) for name in ROUGE_COLUMNS]
    comparisons.append(_compare_length(score["gen_len"], reference["gen_len"]))
    comparisons.append(_compare_count(score["gen_num"], reference["gen_num"]))
    levels = {
        "99 %": all(row["met"] for row in comparisons),
        "99.9 %": all(row["met_99_9"] for row in comparisons),
    }
    status = "PASS" if levels["99 %"] else "FAIL"
    return {"status": status, "against": against, "levels": levels, "comparisons": comparisons}


def add_intervals(
    verdict: dict[str, Any], samples: pd.DataFrame, baseline: dict[str, Any] | None
) -> None:
    """Add to each ROUGE comparison how far chance may move its ratio over so few samples.

    ratio_low and ratio_high: 95 % interval of the ratio of the means, by the bootstrap over
    samples, run and baseline paired by sample (Koehn, EMNLP 2004). The status does not change.

    Args:
        samples: of ``score_samples``. baseline: with "samples" (scores by metric, 0 to 1).
    """
    if not baseline or "samples" not in baseline:
        return
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(samples), size=(BOOTSTRAPS, len(samples)))
    for row in verdict["comparisons"]:
        if row["metric"] in ROUGE_COLUMNS:
            actual = samples[row["metric"]].to_numpy()[drawn].mean(axis=1)
            reference = np.array(baseline["samples"][row["metric"]])[drawn].mean(axis=1)
            low, high = np.percentile(actual / reference, [2.5, 97.5])
            row |= {"ratio_low": float(low), "ratio_high": float(high)}


def chance(verdict: dict[str, Any]) -> str:
    """What the samples can and cannot tell of the ROUGE-1 ratio, as a sentence; may be empty."""
    (row,) = [row for row in verdict["comparisons"] if row["metric"] == "rouge1"] or [{}]
    if "ratio_low" not in row:
        return ""
    low, high, limit = row["ratio_low"], row["ratio_high"], LEVELS["99 %"]
    text = f"The 95 % interval of the ROUGE-1 ratio over these samples is {low:.3f} to {high:.3f}"
    if low < limit <= high:
        return f"{text}: they are too few to tell a loss of 1 % from none."
    return f"{text}, {'above' if low >= limit else 'below'} the limit of {limit} in either case."


def _compare(metric: str, actual: float, reference: float) -> dict[str, Any]:
    limits = {name: reference * share for name, share in LEVELS.items()}
    return {
        "metric": metric,
        "actual": actual,
        "reference": reference,
        "ratio": actual / reference if reference else float("nan"),
        "required": f">= {limits['99 %']:.4f}",
        "required_99_9": f">= {limits['99.9 %']:.4f}",
        "met": actual >= limits["99 %"],
        "met_99_9": actual >= limits["99.9 %"],
    }


def _compare_length(actual: int, reference: int) -> dict[str, Any]:
    """gen_len may differ by a tenth at either level, as the checker has it."""
    low, high = (reference * share for share in GEN_LEN_RANGE)
    required = f"{low:.1f} to {high:.1f}"
    return _same_at_both("gen_len", actual, reference, required, low <= actual <= high)


def _compare_count(actual: int, reference: int) -> dict[str, Any]:
    return _same_at_both("gen_num", actual, reference, f"= {reference}", actual == reference)


def _same_at_both(
    metric: str, actual: int, reference: int, required: str, met: bool
) -> dict[str, Any]:
    return {
        "metric": metric,
        "actual": actual,
        "reference": reference,
        "ratio": actual / reference,
        "required": required,
        "required_99_9": required,
        "met": met,
        "met_99_9": met,
    }


def check_same_dataset(recorded: dict[str, Any], current: dict[str, Any]) -> None:
    """Refuse to score a run with other data than it was made with.

    Args:
        recorded: dataset.json of the run.
        current: facts of the data at hand.

    Raises:
        BenchmarkError: if checksum or number of samples differ.
    """
    for key in ("checksum", "samples"):
        if recorded.get(key) != current.get(key):
            raise BenchmarkError(
                f"The dataset differs from the run's: {key} is {current.get(key)}, the run "
                f"recorded {recorded.get(key)}. Give the run's dataset, or run again."
            )

"""Whether the answers are as good as the reference's: the accuracy test as a finding."""

from collections.abc import Sequence
from typing import Literal

from loadgen_study.accuracy.baseline import baseline_key, samples_covered
from loadgen_study.accuracy.scores import chance, undecided_text, unscorable_text
from loadgen_study.facts.scores import Accuracy, AccuracyVerdict, Comparison
from loadgen_study.findings.finding import Finding, finding
from loadgen_study.results.run import Run
from loadgen_study.scorers.scorer import Metric, Scorer
from loadgen_study.scorers.unscored import unscored_text

# Of a token's log-probability: a token that is 1 % less likely, the loss that MLPerf allows ROUGE.
LOSS_NATS = 0.01
# Two engines in float32 differ by less, in either direction: that is rounding.
NOISE_NATS = 1e-4


@finding("answers", needs=("run", "accuracy"))
def _answers(run: Run, accuracy: Accuracy) -> Finding:
    verdict, dtype, evidence = accuracy.verdict, run.model.dtype, said(run)
    scorer = run.task.scorer
    if verdict.status == "PASS":
        return Finding("good", "Answer quality: pass", evidence, "")
    if verdict.status == "FAIL":
        own = run.params.engine_traits.runs_model and dtype  # None: a server's
        lower = own and dtype != "float32"
        cause = f"See whether {dtype} is to blame (dtype: float32). " if lower else ""
        action = f"{cause}Read the worst answers in accuracy.ipynb."
        return Finding("problem", "Answer quality: below the reference", evidence, action)
    if verdict.status == "INCONCLUSIVE" and verdict.undecided:
        other = "judge the answers token by token"
        action = f"{scorer.cure}, or {other}." if scorer.cure else f"{other.capitalize()}."
        title = f"Answer quality: undecided by {scorer.title}"
        return Finding("note", title, evidence, action)
    if verdict.status == "INCONCLUSIVE":
        used, there = run.scored_data.samples, run.scored_data.total_samples
        action = f"Raise num_samples: {used} of {there} samples were used." if used < there else ""
        return Finding("note", "Answer quality: too few samples to decide", evidence, action)
    cure = "Take all samples (num_samples: 0)." if _covered(run) else "Make a baseline."
    return Finding("note", "Answer quality: not judged", evidence, cure)


def loss(run: Run) -> Literal["none", "some", "not known"]:
    """Whether teacher forcing measures a loss against the reference, by its 95 % interval.

    "none" takes an interval that reaches above ``-NOISE_NATS`` and excludes ``LOSS_NATS``.
    """
    fidelity = run.accuracy.fidelity if run.accuracy else None
    found = fidelity.logprob_difference if fidelity else None
    if found is None or found.low is None or found.high is None:
        return "not known"
    if found.high < -NOISE_NATS:
        return "some"
    return "none" if found.low > -LOSS_NATS else "not known"


def said(run: Run) -> str:
    """The accuracy test in a sentence or two; empty without one.

    Names out of files are in it as they are.
    """
    if run.accuracy is None:
        return ""
    verdict, data, scorer = run.accuracy.verdict, run.scored_data, run.task.scorer
    judged = [part(scorer, verdict) for part in (_compared, chance, undecided_text)]
    unscorable = unscorable_text(scorer, data.unscorable_references, data.samples)
    left_out = unscored_text(run.accuracy.score)
    sentences = [*(judged if verdict.comparisons else [_not_judged(run)]), unscorable, left_out]
    return " ".join(filter(None, sentences))


def _not_judged(run: Run) -> str:
    if covered := _covered(run):
        return f"The baseline covers {covered} samples, this run uses {run.scored_data.samples}."
    return "No baseline of this model and data is stored."


def _covered(run: Run) -> int | None:
    """Samples of the baseline that fits the run in all but their number."""
    return samples_covered(baseline_key(run.model, run.scored_data, run.params.scored))


def _compared(scorer: Scorer, verdict: AccuracyVerdict) -> str:
    """Each score as a share of the reference's, those that fail first."""
    known = [(scorer.metric(row.metric), row) for row in verdict.comparisons if row.decides]
    below = [(metric, row) for metric, row in known if not row.met]
    above = [(metric, row) for metric, row in known if row.met and metric.by_sample]
    if not (shown := below or above):
        return ""
    needed = " and ".join(dict.fromkeys(metric.needed for metric, _ in shown))
    text = f"{_shares(shown)} of {verdict.against}; the gate is {needed}"
    return f"{text}. {_shares(above)} passes." if above and below else f"{text}."


def _shares(rows: Sequence[tuple[Metric, Comparison]]) -> str:
    """Of two metrics: "A 96.3 % and B 97.6 %"."""
    *first, last = [f"{metric.called} {row.ratio * 100:.1f} %" for metric, row in rows]
    return f"{', '.join(first)} and {last}" if first else last

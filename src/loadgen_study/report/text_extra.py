"""The report's sentences on extra tests and on comparisons with other runs; Markdown."""

import shlex
from collections.abc import Sequence

import pandas as pd

from loadgen_study.prose import plain
from loadgen_study.results.run import Run
from loadgen_study.runs.combined import BASELINES, TUNED, Outcome, outcome
from loadgen_study.runs.compare import Digest, reservations
from loadgen_study.runs.peak import harness_limit
from loadgen_study.words import count, per_s


def peak_text(run: Run) -> str:
    """What a search found; empty without one."""
    if (peak := run.peak) is None:
        return ""
    limit = harness_limit(peak.probes)
    if not peak.highest_valid_qps:
        return f"No rate was VALID in this search. {limit}".rstrip()
    held = "confirmed by a full test" if peak.confirmed else "not confirmed by a full test"
    fails = f", and {peak.lowest_invalid_qps:.4g} is not" if peak.lowest_invalid_qps else ""
    return (
        f"The highest rate that is VALID is {per_s(peak.highest_valid_qps, 4)}, {held}{fails}. "
        f"The search began with all queries at once (Offline), of which "
        f"{peak.offline_samples_per_s:.3g} a second were answered. {limit}"
    ).rstrip()


def sweep_text(points: pd.DataFrame) -> str:
    """What a sweep's chart holds besides the sweep, and what its tests at once leave out.

    Args:
        points: of ``runs.sweep.points_table``.
    """
    text, beside = [], []
    if probes := int((points["part"] == "search").sum()):
        beside.append(f"the {count(probes, 'probe')} of the search")
    for _, main in points[points["part"] == "main test"].iterrows():
        beside.append(
            f"the main test of this report at {per_s(main['offered'], 4)} "
            f"({main['tokens_per_s']:,.0f} tokens/s, {per_s(main['goodput_per_s'])} within the "
            "limits)"
        )
    if beside:
        text.append(f"The chart has beside the sweep {' and '.join(beside)}.")
    if (points["kind"] == "concurrency").any():
        text.append(
            "With so many queries at once (Offline) all are due at 0 s and nothing is limited: "
            "time to the first token, verdict and goodput would say nothing, and are left out."
        )
    return " ".join(text)


def served_text(run: Run, table: pd.DataFrame) -> str:
    """How to read both ways side by side; empty without them."""
    if table.empty:
        return ""
    limits = (run.params.max_num_seqs, run.params.max_num_batched_tokens)
    text = (
        "What the server costs: the same test over HTTP, by vllm serve with the run's own options, "
        "and in process. The front end is all that is not the engine core and its workers: LoadGen "
        "and the SUT, and served the server and its client as well."
    )
    if run.params.engine_options.get("stream_interval") is None:
        text += (
            " Both give the first token and then the rest in one piece; a server that streams each "
            "token (`engine_options: {stream_interval: 1}`) does more."
        )
    if run.params.scenario_traits.at_once and None in limits:
        text += (
            " **Offline vLLM chooses larger batch limits in process than for its server**: set "
            "max_num_seqs and max_num_batched_tokens to compare."
        )
    return text


def tuning_text(tuning: pd.DataFrame) -> str:
    """How much of a tuning is chance, and the best of it; empty without one."""
    if tuning.empty:
        return ""
    rates = tuning["tokens_per_s"].dropna()
    baselines = rates[rates.index.isin(BASELINES)]
    if len(baselines) < 2:
        return "One of the two measurements of the run as it is failed: nothing to compare with."
    drift = baselines.max() / baselines.min() - 1
    best = rates.idxmax()
    repeated = ""
    if "runs" in tuning:
        spreads = tuning["cv"][tuning.index.isin(BASELINES)].max()
        repeated = (
            f"Each value has up to {tuning['runs'].max():.0f} runs, made in mixed order, and shows "
            f"the median; from run to run the run as it is varies by {spreads:.1%} (coefficient of "
            "variation), and the intervals are those between runs. "
        )
    return (
        f"{repeated}The two measurements of the run as it is differ by {drift:.1%}: a smaller "
        f"difference is chance. The most tokens/s came with {plain(best)} "
        f"({tuning.loc[best, 'ratio'] - 1:+.1%})."
    )


def comparison_text(runs: Sequence[Digest]) -> str:
    """How to read the comparison, or how to ask for one."""
    if not runs:
        return "No other run was given; the command stands under Further questions."
    text = (
        "In brackets the 95 % interval, where there is one, and the difference from the first; "
        "* marks a difference whose intervals do not meet. Of several runs a figure is their mean, "
        "and its interval is that between runs; of two runs there is none."
    )
    if any(run.runs == 1 for run in runs):
        text += (
            " Of a run that was made once the interval is of its own queries (none where they are "
            "too few, or hang together too much, to tell): another day's run may differ by more, "
            "and * says nothing of that."
        )
    return "\n".join([text, "", *(f"- {plain(one)}" for one in reservations(runs))]).rstrip()


# What a tuning comes to --------------------------------------------------------------------------
def tuned_text(run: Run, tuning: pd.DataFrame) -> str:
    """What helped beyond noise, what it gave together, and how to run it; empty without one."""
    if tuning.empty:
        return ""
    found = outcome(run, tuning)
    if found.best is None:
        return f"**Nothing that was tried helped beyond noise**, so nothing is combined. {_noise()}"
    command = ""
    if (run.folder / TUNED).is_file():
        command = f" To run with it: `make report PARAMS={shlex.quote(run.display_path(TUNED))}`."
    return f"{_gains(found, tuning)} {_noise()}{command}"


def _gains(found: Outcome, tuning: pd.DataFrame) -> str:
    ratio = tuning["ratio"]
    listed = ", ".join(f"{plain(one)} ({ratio[one] - 1:+.1%})" for one in found.helped)
    said = f"**Helped beyond noise: {listed}.**"
    if len(found.helped) == 1:
        return f"{said} There is nothing to combine it with."
    if found.combined is None:
        return f"{said} Their combination was not measured."
    together = f"{said} Together they come to {ratio[found.combined] - 1:+.1%}"
    if found.best == found.combined:
        gain = ratio[found.combined] / ratio[found.helped[0]] - 1
        return f"{together}, {gain:+.1%} on the best of them alone."
    return f"{together}, less than {plain(found.helped[0])} alone, which is kept."


def _noise() -> str:
    return (
        "A value counts as help if it is faster than both measurements of the run as it is by more "
        "than these differ, if their intervals do not meet where there are any, and if it breaks "
        "no rule and no verdict that the run keeps."
    )

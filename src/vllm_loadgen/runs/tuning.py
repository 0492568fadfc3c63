"""One setting at a time, each value with an engine of its own.

A tuning resumes: what was finished under the same ``run_name`` is not made again.
"""

import math
import time
from collections.abc import Callable

import pandas as pd

from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.facts.scores import Variant
from vllm_loadgen.results.run import Run
from vllm_loadgen.rules.conformance import engine_departures
from vllm_loadgen.runs.live import LiveRun


def tune(run: LiveRun, say: Callable[[str], object] = print) -> pd.DataFrame:
    """Vary each parameter of ``tune`` alone, each value with an engine of its own.

    The run's own parameters are measured first and, to show drift, last again.

    Returns:
        see ``tune_table``.
    """
    run.close()  # two engines at once would measure each other
    variants: list[tuple[str, dict[str, object]]] = [("baseline", {})]
    for name, values in run.params.tune.items():
        variants += [(_title(name, value), {name: value}) for value in values]
    variants.append(("baseline again", {}))
    for number, (title, changes) in enumerate(variants):
        begin = time.monotonic()
        problem = _measure(run, f"tune/{number:02d}", title, changes)
        outcome = problem or f"{time.monotonic() - begin:.0f} s"
        say(f"{number + 1} of {len(variants)}: {title}: {outcome}")
    return tune_table(run.read())


def _title(name: str, value: object) -> str:
    """A variant's name; of ``engine_options`` what they are."""
    if isinstance(value, dict):
        return ", ".join(_title(*item) for item in value.items())
    return f"{name}={value}"


def _measure(run: LiveRun, name: str, title: str, changes: dict[str, object]) -> str:
    """One variant; a setting that the engine refuses is a result too, returned as one line."""
    path = run.folder / name / "variant.json"
    if path.is_file():
        return Variant.read(path).problem
    problem = ""
    with run.variant(name, **changes) as variant:
        try:
            variant.once("performance")
            if run.params.tune_accuracy:
                variant.once("accuracy", mode="accuracy", scenario="Offline", target_qps=1.0)
                variant.score()
        except BenchmarkError as error:
            problem = str(error).splitlines()[0]
    Variant(title=title, problem=problem).write(path)
    return problem


def tune_table(run: Run) -> pd.DataFrame:
    """What a run's tuning found, one row a variant in order; empty if there was none.

    Returns:
        index variant; tokens_per_s, ci_low and ci_high (95 %, of tokens_per_s), ratio (to the
        mean of both baselines), ttft_mean_ms, tpot_mean_ms, verdict, rouge1 (None if not asked),
        rules ("kept", or those that this variant breaks and the baseline does not), problem.
    """
    rows = {}
    for path in sorted(run.folder.glob("tune/*/variant.json")):
        facts = Variant.read(path)
        rows[facts.title] = _row(Run.open(path.parent)) | {"problem": facts.problem}
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")
    if frame.empty:
        return frame
    baselines = frame[frame.index.str.startswith("baseline")]
    frame.insert(3, "ratio", frame["tokens_per_s"] / baselines["tokens_per_s"].mean())
    own = baselines["rules"].iloc[0]
    frame["rules"] = [", ".join(r for r in broken if r not in own) or "kept"
                      for broken in frame["rules"]]  # fmt: skip
    return frame


def _row(variant: Run) -> dict[str, object]:
    figures = ("tokens_per_s", "ci_low", "ci_high", "ttft_mean_ms", "tpot_mean_ms")
    row: dict[str, object] = dict.fromkeys(figures, math.nan)
    row |= {"verdict": "", "rouge1": None, "rules": []}
    if variant.finished("performance"):
        test = variant.test("performance")
        low, high = test.tokens_per_s_interval
        row |= {
            "tokens_per_s": test.metrics.tokens_per_s, "ci_low": low, "ci_high": high,
            "ttft_mean_ms": test.metrics.ttft_ms.mean,
            "tpot_mean_ms": test.metrics.tpot_ms.mean,
            "verdict": test.result.verdict,
            "rules": [rule.rule for rule in engine_departures(variant.params)],
        }  # fmt: skip
    if variant.accuracy is not None:
        row["rouge1"] = variant.accuracy.score.rouge1
    return row

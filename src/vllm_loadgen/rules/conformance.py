"""How far a run is from an official one: each rule with what it requires and what was done."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd

from vllm_loadgen.accuracy.baseline import weights_sha256
from vllm_loadgen.harness import loadgen
from vllm_loadgen.params import REFERENCE_INSTRUCTION, RunParams

Status = Literal["met", "departs", "not checked"]

# inference_rules.adoc: which scenarios a benchmark has, and its answers' limits.
SCENARIOS = {
    "llama3_1-8b": ("Offline", "Server"),
    "llama3_1-8b-interactive": ("Server",),
    "llama3_1-8b-edge": ("SingleStream", "Offline"),
}
MAX_NEW_TOKENS, MIN_NEW_TOKENS = 128, 1
# meta-llama/Llama-3.1-8B-Instruct, the four weight files (SHA-256 of the hub's LFS pointers).
OFFICIAL_WEIGHTS = frozenset(
    (
        "2b1879f356aed350030bb40eb45ad362c89d9891096f79a3ab323d3ba5607668",
        "09d433f650646834a83c580877bd60c6d1f88f7755305c12576b5c7058f9af15",
        "fc1cdddd6bfa91128d6e94ee73d0ce62bfcdb7af29e978ddcab30c66ae9ea7fa",
        "92ecfe1a2414458b4821ac8c13cf8cb70aed66b5eea8dc5ad9eeb4ff309d6d7b",
    )
)
HUB_DATASET = "cnn_dailymail"
SEEDS = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed")
MOST_LISTED = 10


@dataclass(frozen=True)
class Rule:
    """A line of the conformance table; ``note`` says why, or what to do."""

    rule: str
    required: str
    actual: str
    status: Status
    note: str = ""


def conformance_table(
    params: RunParams,
    result: dict[str, Any],
    model: dict[str, Any],
    dataset: dict[str, Any],
    records: pd.DataFrame | None = None,
    accuracy: dict[str, Any] | None = None,
    compliance: dict[str, Any] | None = None,
) -> list[Rule]:
    """Every official rule that the project knows, for one performance test.

    Args:
        result: result.json of the test. model: model.json. dataset: dataset.json.
        records: of the test; without them the answers are not checked.
        accuracy: accuracy.json (score and verdict), if the accuracy test was made.
        compliance: of ``compliance.verify``, if TEST06 was made.
    """
    official = loadgen.official_settings(params)
    settings = result.get("effective_settings", {})
    return [
        *_what_is_measured(params, model, dataset, official.performance_sample_count_override),
        *_how_loadgen_asks(params, settings, official),
        *_how_the_engine_answers(params),
        *_outcome(result, records),
        *_other_tests(params, accuracy, compliance),
    ]


def table(rules: Sequence[Rule]) -> pd.DataFrame:
    """The rules as a frame to be shown: rule, required, actual, status, note."""
    return pd.DataFrame([asdict(rule) for rule in rules])


def departures(rules: Sequence[Rule]) -> list[Rule]:
    """The rules that the run breaks."""
    return [rule for rule in rules if rule.status == "departs"]


def effective_verdict(
    result: dict[str, Any], records: pd.DataFrame | None = None
) -> tuple[str, list[str]]:
    """LoadGen's verdict, unless it says VALID of a run that it logged errors of.

    LoadGen prints VALID in spite of logged errors, of answers without tokens and of first tokens
    that never came (seen in runs of 6.0.17).

    Returns:
        "VALID", "INVALID", "NO VERDICT" or "NOT VALID: ..." with the reason, and the reasons in
        full: LoadGen's own lines, its errors, or what is missing.
    """
    if result["status"] != "complete":
        return f"NOT VALID: the run was {result['status']}", ["LoadGen did not reach its end."]
    if result.get("verdict") != "VALID":
        return result.get("verdict") or "NO VERDICT", list(result.get("verdict_reasons", []))
    if result["num_errors"]:
        count = result["num_errors"]
        return f"NOT VALID: LoadGen logged {_plural(count, 'error')}", result["error_lines"]
    if records is not None:
        for problem, indices in _faulty_answers(records).items():
            if indices and problem != "one token":
                return f"NOT VALID: {problem}", [f"{problem}: samples {_listed(indices)}"]
    return "VALID", list(result.get("verdict_reasons", []))


def title(verdict: str, rules: Sequence[Rule]) -> str:
    """The headline of a report: the ``effective_verdict`` and how official the run is."""
    broken = departures(rules)
    if not broken:
        return f"{verdict}, with MLPerf's official settings (not reviewed by MLCommons)"
    points = _plural(len(broken), "point")
    return f"{verdict} by LoadGen, but not an official run: it departs from the rules in {points}"


def is_official(params: RunParams, model: dict[str, Any], dataset: dict[str, Any]) -> bool:
    """Whether the checker's accuracy limits apply: official model and whole official dataset."""
    count = loadgen.official_settings(params).performance_sample_count_override
    return all(
        rule.status != "departs" for rule in _what_is_measured(params, model, dataset, count)
    )


# The groups of rules ------------------------------------------------------------------------
def _what_is_measured(
    params: RunParams, model: dict[str, Any], dataset: dict[str, Any], samples: int
) -> list[Rule]:
    scenarios = SCENARIOS[params.benchmark]
    required = f"{params.benchmark}: {' or '.join(scenarios)}"
    trained = params.load_format != "dummy" and params.engine != "echo"
    weights = {"dummy": "random (load_format dummy)"}.get(params.load_format, "the model's files")
    if params.engine == "echo":
        weights = "none (echo engine)"
    return [
        _rule("Scenario", required, params.scenario, params.scenario in scenarios),
        _model_rule(model),
        _rule("Weights", "the model's files", weights, trained),
        *_dataset_rules(params, dataset, samples),
    ]


def _model_rule(model: dict[str, Any]) -> Rule:
    found = frozenset(weights_sha256(model["sha256"]).values())
    met = found == OFFICIAL_WEIGHTS
    shape = (model.get("hidden_size"), model.get("num_layers"), model.get("vocab_size"))
    alike = not met and shape == (4096, 32, 128256)
    note = "the shape is right, the weight files differ: converted or quantized" if alike else ""
    required = "Llama-3.1-8B-Instruct, the files of its hub page"
    return _rule("Model", required, model["name"], met, note)


def _dataset_rules(params: RunParams, dataset: dict[str, Any], samples: int) -> list[Rule]:
    tokenized = dataset.get("tokenized_by", "").startswith("the file")
    official = tokenized or dataset["name"] == HUB_DATASET
    whole = dataset["samples"] == dataset["total_samples"] == samples
    known_prompt = tokenized or (
        dataset["instruction"] == REFERENCE_INSTRUCTION and not dataset["chat_template"]
    )
    if tokenized:
        prompt = "the file's tok_input"
    else:
        template = "chat template" if dataset["chat_template"] else "no chat template"
        same = dataset["instruction"] == REFERENCE_INSTRUCTION
        prompt = f"{'the reference' if same else 'another'} instruction, {template}"
    return [
        _rule(
            "Dataset",
            f"CNN/DailyMail 3.0.0 validation, all {samples} samples",
            f"{dataset['name']}, {dataset['samples']} of {dataset['total_samples']} samples",
            official and whole,
        ),
        Rule(
            "Dataset's checksum",
            "that of MLCommons' file",
            dataset["checksum"],
            "not checked" if official else "departs",
            "compare it with your download" if official else "another dataset",
        ),
        _rule("Prompt", "the reference instruction, no chat template", prompt, known_prompt),
    ]


def _how_loadgen_asks(params: RunParams, settings: dict[str, Any], official: Any) -> list[Rule]:
    def at_least(name: str, key: str, required: float, unit: str = "") -> Rule:
        actual = settings.get(key)
        met = None if actual is None else actual >= required
        return _rule(name, f">= {required:g}{unit}", _shown(actual, unit), met)

    def equal(name: str, key: str, required: Any) -> Rule:
        actual = settings.get(key)
        met = None if actual is None else actual == required
        return _rule(name, str(required), _shown(actual), met)

    # An Offline test is one query that holds all the samples.
    count_key = "samples_per_query" if params.scenario == "Offline" else "min_query_count"
    count_name = "Samples of the query" if params.scenario == "Offline" else "Least queries"
    share = {
        "Server": official.server_target_latency_percentile,
        "SingleStream": official.single_stream_target_latency_percentile,
    }.get(params.scenario)
    rules = [
        at_least("Least duration", "min_duration_ms", official.min_duration_ms, " ms"),
        at_least(count_name, count_key, official.min_query_count),
        at_least(
            "Performance samples",
            "performance_sample_count",
            official.performance_sample_count_override,
        ),
        *(equal(f"Seed {seed}", seed, getattr(official, seed)) for seed in SEEDS),
        equal("Token latencies", "use_token_latencies", True),
        equal("Equal issue", "sample_concatenate_permutation", True),
    ]
    if share is not None:
        rules.append(at_least("Percentile of the limits", "target_latency_percentile", share))
    if params.scenario == "Server":
        rules += [
            _limit_rule(
                "Limit on first tokens", settings.get("ttft_latency"), official.ttft_latency
            ),
            _limit_rule(
                "Limit per output token", settings.get("tpot_latency"), official.tpot_latency
            ),
        ]
    return rules


def _limit_rule(name: str, actual_ns: int | None, required_ns: int) -> Rule:
    met = None if actual_ns is None else actual_ns <= required_ns
    actual = None if actual_ns is None else actual_ns / 1e6
    return _rule(name, f"<= {required_ns / 1e6:g} ms", _shown(actual, " ms"), met)


def engine_departures(params: RunParams) -> list[Rule]:
    """The rules on the engine that these parameters break, before any test."""
    return departures(_how_the_engine_answers(params))


def _how_the_engine_answers(params: RunParams) -> list[Rule]:
    option = params.enable_prefix_caching
    echo = params.engine == "echo"
    return [
        _rule("Prefix caching", "off", "on" if option else "off", not option),
        # engines/vllm.py sets temperature 0, and no parameter reaches it.
        _rule("Decoding", "greedy", "none (echo engine)" if echo else "greedy", not echo),
        _rule(
            "Longest answer",
            f"{MAX_NEW_TOKENS} tokens",
            f"{params.max_new_tokens} tokens",
            params.max_new_tokens == MAX_NEW_TOKENS,
        ),
        _rule(
            "Shortest answer",
            f"{MIN_NEW_TOKENS} token",
            f"{params.min_new_tokens} token",
            params.min_new_tokens == MIN_NEW_TOKENS,
        ),
    ]


def _outcome(result: dict[str, Any], records: pd.DataFrame | None) -> list[Rule]:
    errors = result.get("num_errors")
    verdict = result.get("verdict")
    return [
        _rule("LoadGen's verdict", "VALID", _shown(verdict), verdict == "VALID"),
        _rule(
            "Errors that LoadGen logged",
            "0",
            _shown(errors),
            None if errors is None else errors == 0,
            "; ".join(result.get("error_lines", [])[:3]),
        ),
        _answers_rule(records),
    ]


def _answers_rule(records: pd.DataFrame | None) -> Rule:
    required = "2 tokens or more to every query"
    if records is None:
        return Rule("Answers", required, "no records", "not checked")
    faulty = {problem: found for problem, found in _faulty_answers(records).items() if found}
    count = len({row for found in faulty.values() for row in found})
    note = "; ".join(f"{problem}: samples {_listed(found)}" for problem, found in faulty.items())
    actual = f"{count} of {len(records)} fall short" if faulty else f"all {len(records)}"
    return _rule("Answers", required, actual, not faulty, note)


def _faulty_answers(records: pd.DataFrame) -> dict[str, list[int]]:
    """Sample indices by problem; the three do not overlap."""
    undone = records["done_ns"].isna()
    no_first = ~undone & (records["first_token_ns"].isna() | (records["output_tokens"] == 0))
    short = ~undone & ~no_first & (records["output_tokens"] == 1)
    problems = {"no answer": undone, "no first token": no_first, "one token": short}
    return {name: records.loc[rows, "sample_index"].tolist() for name, rows in problems.items()}


def _other_tests(
    params: RunParams, accuracy: dict[str, Any] | None, compliance: dict[str, Any] | None
) -> list[Rule]:
    rules = [_accuracy_rule(accuracy)]
    # submission_checker, models_TEST06: the edge benchmark has no compliance test.
    if params.benchmark != "llama3_1-8b-edge":
        actual = "not run" if compliance is None else compliance["status"]
        met = None if compliance is None else compliance["status"] == "PASS"
        rules.append(_rule("Compliance TEST06", "PASS", actual, met))
    return rules


def _accuracy_rule(accuracy: dict[str, Any] | None) -> Rule:
    required = "99 % of the reference"
    if accuracy is None:
        return Rule("Accuracy", required, "not run", "not checked")
    verdict = accuracy["verdict"]
    met = {"PASS": True, "FAIL": False}.get(verdict["status"])
    return _rule("Accuracy", required, verdict["status"], met, f"against {verdict['against']}")


def _rule(rule: str, required: str, actual: str, met: bool | None, note: str = "") -> Rule:
    status: Status = "not checked" if met is None else "met" if met else "departs"
    return Rule(rule, required, actual, status, note)


def _shown(value: Any, unit: str = "") -> str:
    if value is None:
        return "unknown"
    return f"{value:g}{unit}" if isinstance(value, float) else f"{value}{unit}"


def _listed(indices: list[int]) -> str:
    more = f" and {len(indices) - MOST_LISTED} more" if len(indices) > MOST_LISTED else ""
    return ", ".join(map(str, indices[:MOST_LISTED])) + more


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

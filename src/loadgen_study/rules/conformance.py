"""How far a run is from an official one: each rule with what it requires and what was done."""

from typing import Any

from loadgen_study.accuracy.scores import official_verdict
from loadgen_study.benchmarks import REFERENCE_INSTRUCTION
from loadgen_study.facts.inputs import Dataset, Model
from loadgen_study.facts.scores import Accuracy
from loadgen_study.params import RunParams
from loadgen_study.results.run import Run
from loadgen_study.rules import test06
from loadgen_study.rules.options import departing_options
from loadgen_study.rules.rule import (
    IDENTITY,
    PERCENTILE,
    SEED,
    WEIGHTS,
    Complaint,
    Rule,
    departures,
    judged,
)
from loadgen_study.rules.verdict import faulty_answers, listed
from vllm_loadgen.harness import loadgen
from vllm_loadgen.records.engine import EngineFacts
from vllm_loadgen.records.result import EffectiveSettings, Result

# vLLM's ways to load the files that are hashed; "dummy" reads none, others read other ones.
FORMATS_OF_THE_FILES = (
    "auto", "hf", "safetensors", "pt", "fastsafetensors", "runai_streamer", "instanttensor",
)  # fmt: skip
SEEDS = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed")


def rules_of(run: Run) -> list[Rule]:
    """Every official rule that the project knows, as the run's performance test keeps it.

    Empty without such a test.
    """
    if run.performance is None:
        return []
    accuracy = run.test("accuracy").result if run.has("accuracy") else None
    return judge(run, run.performance.result, accuracy)


def judge(run: Run, performance: Result, accuracy: Result | None) -> list[Rule]:
    """The rules by what is said of the two tests: by their result.json, or by their logs anew.

    Args:
        accuracy: None if there is no such test.
    """
    official = loadgen.official_settings(run.params)
    settings = performance.effective_settings
    return [
        *_what_is_measured(run.params, run.model, run.dataset, accuracy),
        *_how_loadgen_asks(run.params, settings, official),
        *_how_the_engine_answers(run.params, run.engine),
        *_outcome(run, performance, official),
        *_other_tests(run),
        *_in_one_piece(accuracy),
    ]


def is_official(params: RunParams, model: Model, dataset: Dataset) -> bool:
    """Whether the checker's accuracy limits apply: official model and whole official dataset."""
    return not departures(_what_is_measured(params, model, dataset, None))


def engine_departures(params: RunParams) -> list[Rule]:
    """The rules on the engine that these parameters break, before any test."""
    return departures(_how_the_engine_answers(params))


# What is measured ---------------------------------------------------------------------------
def _what_is_measured(
    params: RunParams, model: Model, dataset: Dataset, accuracy: Result | None
) -> list[Rule]:
    benchmark = params.rules
    allowed = f"{benchmark.name}: {' or '.join(benchmark.scenarios)}"
    return [
        judged("Scenario", allowed, params.scenario, params.scenario in benchmark.scenarios),
        _model_rule(params, model),
        _weights_rule(params),
        *_dataset_rules(params, dataset, accuracy),
    ]


def _weights_rule(params: RunParams) -> Rule:
    required, load_format = "the model's files", params.load_format
    if params.engine == "openai":
        note = "weights that the server runs not checked"
        return judged(WEIGHTS, required, "the server's", None, note)
    if params.engine == "echo":
        return judged(WEIGHTS, required, "none (echo engine)", False)
    if load_format in FORMATS_OF_THE_FILES:
        return judged(WEIGHTS, required, required, True)
    random = "random (load_format dummy)" if load_format == "dummy" else ""
    return judged(WEIGHTS, required, random or f"load_format {load_format}", False)


def _model_rule(params: RunParams, model: Model) -> Rule:
    wanted = params.rules.model
    alike = (model.hidden_size, model.num_layers, model.vocab_size) == wanted.shape
    # A config.json with fewer layers runs fewer of the same weights.
    met = alike and frozenset(model.weights_sha256.values()) == wanted.weights_sha256
    required = f"{wanted.title}, the files of its hub page"
    if params.engine == "openai" and alike:
        note = "the configuration here has the right shape; what the server runs is not seen"
        return judged("Model", required, model.name, None, note)
    note = "the shape is right, the weight files differ: converted or quantized"
    return judged("Model", required, model.name, met, note if alike and not met else "")


def _dataset_rules(params: RunParams, dataset: Dataset, accuracy: Result | None) -> list[Rule]:
    wanted, samples = params.rules.dataset, params.rules.samples
    official = dataset.tokenized or dataset.name == wanted.name
    whole = dataset.samples == dataset.total_samples == samples
    reference = dataset.instruction == REFERENCE_INSTRUCTION
    if dataset.tokenized:
        prompt = "the file's tok_input"
    else:
        template = "chat template" if dataset.chat_template else "no chat template"
        prompt = f"{'the reference' if reference else 'another'} instruction, {template}"
    return [
        judged(
            "Dataset",
            f"{wanted.title}, all {samples} samples",
            f"{dataset.name}, {dataset.samples} of {dataset.total_samples} samples",
            official and whole,
            "",
            *_dataset_complaints(accuracy, samples),
        ),
        _identity_rule(params, dataset),
        judged(
            "Prompt",
            "the reference instruction, no chat template",
            prompt,
            dataset.tokenized or (reference and not dataset.chat_template),
        ),
    ]


def _identity_rule(params: RunParams, dataset: Dataset) -> Rule:
    """Whether the data are known to be MLCommons' own, and not only of their number and columns."""
    wanted = params.rules.dataset
    required = "MLCommons' file by its checksum, or the hub's dataset tokenized here"
    checksum = dataset.checksum.removeprefix("sha256:")
    if not dataset.tokenized:
        official = dataset.name == wanted.name
        actual = f"the hub's {dataset.source}" if official else dataset.checksum
        note = "" if official else "another dataset"
        return judged(IDENTITY, required, actual, official, note)
    if checksum in wanted.sha256:
        return judged(IDENTITY, required, dataset.checksum, True)
    if checksum == params.dataset_sha256:
        note = "identity of the data by a checksum that the runner gave"
        return judged(IDENTITY, required, dataset.checksum, True, note)
    note = "identity of the data not checked"
    return judged(IDENTITY, required, dataset.checksum, None, note)


def _dataset_complaints(accuracy: Result | None, samples: int) -> list[Complaint]:
    """The checker counts the samples of the accuracy test."""
    if accuracy is None:
        return []
    count = accuracy.effective_settings.accuracy_sample_count or accuracy.total_sample_count
    if count == samples:
        return []
    text = "accuracy run does not cover all dataset"
    sizes = f"accuracy samples: {count}, dataset size: {samples}"
    return [Complaint("dataset_check", f"{text}, {sizes}")]


# How LoadGen asks ---------------------------------------------------------------------------
def _how_loadgen_asks(params: RunParams, settings: EffectiveSettings, official: Any) -> list[Rule]:
    rules = [
        _duration_rule(settings, official),
        _count_rule(params, settings, official),
        _samples_rule(settings, official),
        *(_seed_rule(seed, settings, official) for seed in SEEDS),
        _equal(
            "Token latencies",
            settings.use_token_latencies,
            True,
            Complaint("llm_check", "use_token_latencies flag needs to be enabled"),
        ),
        _equal("Equal issue", settings.sample_concatenate_permutation, True),
    ]
    share = {
        "Server": official.server_target_latency_percentile,
        "SingleStream": official.single_stream_target_latency_percentile,
    }.get(params.scenario)
    if share is not None:
        actual = settings.target_latency_percentile
        rules.append(_at_least(PERCENTILE, actual, share))
    if params.scenario == "Server":
        limits = (
            ("Limit on first tokens", settings.ttft_latency, official.ttft_latency),
            ("Limit per output token", settings.tpot_latency, official.tpot_latency),
        )
        rules += [_limit_rule(*limit) for limit in limits]
    return rules


def _duration_rule(settings: EffectiveSettings, official: Any) -> Rule:
    actual, needed = settings.min_duration_ms, official.min_duration_ms
    text = "Test duration less than 600s in user config."
    complaint = Complaint("min_duration_check", f"{text} expected={needed}, found={actual}")
    return _at_least("Minimum duration", actual, needed, complaint, unit=" ms")


def _count_rule(params: RunParams, settings: EffectiveSettings, official: Any) -> Rule:
    """An Offline test is one query that holds all the samples."""
    needed = official.min_query_count
    if params.scenario != "Offline":
        return _at_least("Minimum queries", settings.min_query_count, needed)
    actual = settings.samples_per_query
    text = "Required minimum samples per query not met by user config"
    found = f"{text}, Expected={needed}, Found={actual}"
    complaint = Complaint("min_query_count_check", found, closed_only=True)
    return _at_least("Samples of the query", actual, needed, complaint)


def _samples_rule(settings: EffectiveSettings, official: Any) -> Rule:
    actual = settings.performance_sample_count
    needed = official.performance_sample_count_override
    text = f"performance_sample_count, found {actual}, needs to be >= {needed}"
    complaint = Complaint("performance_sample_count_check", text)
    return _at_least("Performance samples", actual, needed, complaint)


def _seed_rule(seed: str, settings: EffectiveSettings, official: Any) -> Rule:
    actual, expected = getattr(settings, seed), getattr(official, seed)
    text = f"{seed} is wrong, expected={expected}, found={actual}"
    return _equal(f"{SEED}{seed}", actual, expected, Complaint("seeds_check", text))


def _limit_rule(name: str, actual_ns: int | None, required_ns: int) -> Rule:
    met = None if actual_ns is None else actual_ns <= required_ns
    actual = None if actual_ns is None else actual_ns / 1e6
    return judged(name, f"<= {required_ns / 1e6:g} ms", _shown(actual, " ms"), met)


# How the engine answers ---------------------------------------------------------------------
def _how_the_engine_answers(params: RunParams, engine: EngineFacts | None = None) -> list[Rule]:
    caching, echo, benchmark = params.enable_prefix_caching, params.engine == "echo", params.rules
    unknown = departing_options(params.engine_options)
    most, fewest = benchmark.max_new_tokens, benchmark.min_new_tokens
    lengths = [
        judged(
            "Longest answer",
            f"{most} tokens",
            f"{params.max_new_tokens} tokens",
            params.max_new_tokens == most,
        ),
        judged(
            "Shortest answer",
            f"{fewest} token",
            f"{params.min_new_tokens} token",
            params.min_new_tokens == fewest,
        ),
    ]
    if params.engine == "openai":
        return _how_a_server_answers(lengths, engine)
    return [
        judged("Prefix caching", "off", "on" if caching else "off", not caching),
        # engines/vllm.py sets temperature 0, and no parameter reaches it.
        judged("Decoding", "greedy", "none (echo engine)" if echo else "greedy", not echo),
        *lengths,
        judged(
            "Engine options",
            "none but those that leave answers and rules alone",
            "; ".join(unknown) or ", ".join(params.engine_options) or "none",
            not unknown,
        ),
    ]


def _how_a_server_answers(lengths: list[Rule], engine: EngineFacts | None) -> list[Rule]:
    """What a server was asked for is known; what it does with it was not read."""
    longest, shortest = lengths
    if engine is not None and "min_tokens" not in engine.options and shortest.status == "met":
        note = "the server was not asked for it: it takes OpenAI's options alone"
        shortest = judged(shortest.rule, shortest.required, "the server's", None, note)
    off = "not read from the server: start it with --no-enable-prefix-caching"
    greedy = "asked for with temperature 0; what the server does with it is not seen"
    options = "those that the server was started with are not seen"
    return [
        judged("Prefix caching", "off", "the server's", None, off),
        judged("Decoding", "greedy", "asked for", None, greedy),
        longest,
        shortest,
        judged("Engine options", "none but those that leave answers and rules alone",
               "the server's", None, options),
    ]  # fmt: skip


# What came of it ----------------------------------------------------------------------------
def _outcome(run: Run, result: Result, official: Any) -> list[Rule]:
    verdict, errors = result.verdict, result.num_errors
    rules = [
        judged(
            "LoadGen's verdict",
            "VALID",
            _shown(verdict),
            verdict == "VALID",
            "",
            Complaint("result_validity", f"Performance result is not VALID, found={verdict}"),
        ),
        judged(
            "Errors that LoadGen logged",
            "0",
            _shown(errors),
            None if errors is None else errors == 0,
            "; ".join(result.error_lines[:3]),
            Complaint("loadgen_errors_check", f"has loadgen errors, number of errors: {errors}"),
        ),
        _answers_rule(run),
    ]
    if result.scenario != "Offline":
        met = result.loadgen_results.early_stopping_met
        complaint = Complaint("latency_check", "Early stopping condition was not met")
        rules.append(_equal("Early stopping", met, True, complaint))
    if result.scenario == "Server":
        rules.append(_tail_rule(result, official))
    return rules


def _answers_rule(run: Run) -> Rule:
    required = "2 tokens or more to every query"
    if run.performance is None or run.performance.latencies.empty:
        return Rule("Answers", required, "no records", "not checked")
    latencies = run.performance.latencies
    faulty = {problem: found for problem, found in faulty_answers(latencies).items() if found}
    count = len({row for found in faulty.values() for row in found})
    note = "; ".join(f"{problem}: samples {listed(found)}" for problem, found in faulty.items())
    actual = f"{count} of {len(latencies)} fall short" if faulty else f"all {len(latencies)}"
    return judged("Answers", required, actual, not faulty, note)


def _tail_rule(result: Result, official: Any) -> Rule:
    """The checker looks at the 99th percentiles, whatever percentile LoadGen judged at."""
    ttft, tpot = result.loadgen_results.ttft_p99_ns, result.loadgen_results.tpot_p99_ns
    limits = (official.ttft_latency, official.tpot_latency)
    required = f"below {limits[0] / 1e6:g} and {limits[1] / 1e6:g} ms"
    if ttft is None or tpot is None:
        return Rule("p99 of TTFT and TPOT", required, "unknown", "not checked")
    text = (
        "Failed extra check for TTFT and TPOT. "
        f"Obtained: TTFT 99-tile: {ttft:.4f}, TPOT 99-tile: {tpot:.4f}. "
        f"Required: TTFT 99-tile: {limits[0]:.4f}, TPOT 99-tile: {limits[1]:.4f}"
    )
    actual = f"{ttft / 1e6:,.0f} and {tpot / 1e6:.3g} ms"
    met = ttft < limits[0] and tpot < limits[1]
    return judged("p99 of TTFT and TPOT", required, actual, met, "", Complaint("llm_check", text))


def _other_tests(run: Run) -> list[Rule]:
    rules = [_accuracy_rule(run.params, run.accuracy)]
    if run.params.rules.test06:
        status = test06.recorded(run.folder / "compliance")
        missing = Complaint("dir_exists_check", "Missing TEST06 in compliance dir", True)
        failed = Complaint("accuracy_check", "TEST06 accuracy check failed", True)
        name = "Compliance TEST06"
        rules.append(
            Rule(name, "PASS", "not run", "not checked", "", (missing,))
            if status is None
            else judged(name, "PASS", status, status == "PASS", "", failed)
        )
    return rules


def _in_one_piece(accuracy: Result | None) -> list[Rule]:
    """A rule only for a test that was resumed: others are in one piece by themselves."""
    if accuracy is None or not accuracy.resumed_samples:
        return []
    actual = f"resumed: {accuracy.resumed_samples} samples are of an interrupted test"
    return [judged("Accuracy test", "in one piece", actual, False)]


def _accuracy_rule(params: RunParams, accuracy: Accuracy | None) -> Rule:
    required = "99 % of the reference"
    if accuracy is None:
        return Rule("Accuracy", required, "not run", "not checked")
    met = {"PASS": True, "FAIL": False}.get(accuracy.verdict.status)
    note = f"against {accuracy.verdict.against}"
    if accuracy.verdict.undecided:
        names = ", ".join(row.metric for row in accuracy.verdict.undecided)
        note += f"; it scores 0 in {names}, which decides nothing"
    if needed := accuracy.verdict.samples_needed:
        note += f"; {needed:,} samples like these would decide it"
    rule = judged(
        "Accuracy",
        required,
        accuracy.verdict.status,
        met,
        note,
    )
    # The checker knows the official limits alone, whatever the run was judged against.
    complaints = tuple(
        Complaint(
            "accuracy_result_check",
            f"accuracy not met: {row.metric} expected={row.required}, found={row.actual}",
            closed_only=True,
        )
        for row in official_verdict(accuracy.score, params.rules).comparisons
        if not row.met and row.metric != "gen_num"
    )
    return Rule(rule.rule, rule.required, rule.actual, rule.status, rule.note, complaints)


# Kinds of rules -----------------------------------------------------------------------------
def _at_least(
    name: str, actual: float | None, required: float, *found: Complaint, unit: str = ""
) -> Rule:
    met = None if actual is None else actual >= required
    return judged(name, f">= {required:g}{unit}", _shown(actual, unit), met, "", *found)


def _equal(name: str, actual: object, required: object, *found: Complaint) -> Rule:
    met = None if actual is None else actual == required
    return judged(name, _shown(required), _shown(actual), met, "", *found)


def _shown(value: object, unit: str = "") -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}{unit}" if isinstance(value, float) else f"{value}{unit}"

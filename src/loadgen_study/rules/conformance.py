"""How far a run is from an official one: each rule with what it requires and what was done."""

from collections.abc import Iterator
from dataclasses import replace

from loadgen_study.accuracy.scores import official_verdict
from loadgen_study.analysis.percentiles import lacking
from loadgen_study.benchmarks.record import CURRENT_ROUND
from loadgen_study.results.run import Run
from loadgen_study.rules.compliance import required as compliance_tests
from loadgen_study.rules.options import departing_options
from loadgen_study.rules.rule import (
    IDENTITY,
    JUDGES,
    PERCENTILE,
    SEEDS,
    WEIGHTS,
    Case,
    Complaint,
    Part,
    Rule,
    at_least,
    departures,
    equal,
    judges,
    shown,
)
from loadgen_study.rules.verdict import faulty_answers
from loadgen_study.scorers.unscored import unscored_text
from loadgen_study.words import listed
from vllm_loadgen.records.result import Result

# vLLM's ways to load the files that are hashed; "dummy" reads none, others read other ones.
FORMATS_OF_THE_FILES = (
    "auto", "hf", "safetensors", "pt", "fastsafetensors", "runai_streamer", "instanttensor",
)  # fmt: skip
# LoadGen's p99 is sorted[floor(0.99 n)]: the last of so many values (loadgen/results.cc).
MOST_FOR_MAXIMUM = 100
NO_TEST = Result(status="running", scenario="Offline")


def rules_of(run: Run) -> list[Rule]:
    """Every official rule that the project knows, as the run's performance test keeps it.

    Empty without such a test.
    """
    if run.performance is None:
        return []
    accuracy = run.test("accuracy").result if run.has("accuracy") else None
    return judge(Case(run, run.performance.result, accuracy))


def judge(case: Case, *parts: Part) -> list[Rule]:
    """The rules of these parts, of all without any."""
    found = [(part, judging(case)) for part, judging in JUDGES if not parts or part in parts]
    return [replace(rule, part=part) for part, rules in found for rule in rules]


def is_official(run: Run) -> bool:
    """Whether the checker's accuracy limits apply: official model and whole official dataset."""
    return not departures(judge(Case(run, NO_TEST), "task"))


def engine_departures(run: Run) -> list[Rule]:
    """The rules on the engine that the run's parameters break, with or without a test."""
    return departures(judge(Case(run, NO_TEST), "engine"))


# The task -----------------------------------------------------------------------------------
@judges("task")
def _scenario(case: Case) -> Iterator[Rule]:
    benchmark, scenario = case.params.rules, case.params.scenario
    allowed = f"{benchmark.name}: {' or '.join(benchmark.scenarios)}"
    yield Rule("scenario", "Scenario", allowed, scenario, scenario in benchmark.scenarios)


@judges("task")
def _model(case: Case) -> Iterator[Rule]:
    wanted, model = case.params.rules.model, case.run.model
    alike = (model.hidden_size, model.num_layers, model.vocab_size) == wanted.shape
    # A config.json with fewer layers runs fewer of the same weights.
    met: bool | None = alike and frozenset(model.weights_sha256.values()) == wanted.weights_sha256
    note = "the shape is right, the weight files differ: converted or quantized"
    if alike and not wanted.weights_sha256:
        met, note = None, "the shape is right; the checksums of the files are not known here"
    required = f"{wanted.title}, the files of its hub page"
    rule = Rule("model", "Model", required, model.name, met, note if alike and not met else "")
    note = "the configuration here has the right shape; what the server runs is not seen"
    yield case.seen(rule, note, model.name) if alike else rule


@judges("task")
def _weights(case: Case) -> Iterator[Rule]:
    files, load_format = "the model's files", case.params.load_format
    known = {**dict.fromkeys(FORMATS_OF_THE_FILES, files), "dummy": "random (load_format dummy)"}
    actual = known.get(load_format, f"load_format {load_format}")
    if not case.params.engine_traits.runs_model:
        actual = f"none ({case.params.engine} engine)"
    rule = Rule(WEIGHTS, "Weights", files, actual, actual == files)
    yield case.seen(rule, "weights that the server runs not checked")


@judges("task")
def _dataset(case: Case) -> Iterator[Rule]:
    """The checker counts the samples of the accuracy test."""
    wanted, samples, data = case.params.rules.dataset, case.params.rules.samples, case.run.dataset
    required = f"{wanted.title}, all {samples} samples"
    actual = f"{data.name}, {data.samples} of {data.total_samples} samples"
    official = data.tokenized or data.name == wanted.name
    met = official and data.samples == data.total_samples == samples
    complaints: tuple[Complaint, ...] = ()
    if test := case.accuracy:
        count = test.effective_settings.accuracy_sample_count or test.total_sample_count
        needed = case.params.rules.accuracy_samples or samples
        text = "accuracy run does not cover all dataset"
        text = f"{text}, accuracy samples: {count}, dataset size: {needed}"
        if count != needed and not (met and needed == samples):
            complaints = (Complaint("dataset_check", text),)
    yield Rule("dataset", "Dataset", required, actual, met, "", complaints)


@judges("outcome")
def _identity(case: Case) -> Iterator[Rule]:
    """Whether the data are known to be MLCommons' own, and not only of their number and columns."""
    wanted, data = case.params.rules.dataset, case.run.dataset
    checksum, actual = data.checksum.removeprefix("sha256:"), data.checksum
    met: bool | None = True
    note = ""
    if not data.tokenized and data.name == wanted.name:
        actual = f"the hub's {data.source}"
    elif not data.tokenized:
        met, note = False, "another dataset"
    elif checksum == case.params.dataset_sha256 and checksum not in wanted.sha256:
        note = "identity of the data by a checksum that the runner gave"
    elif checksum not in wanted.sha256:
        met, note = None, "identity of the data not checked"
    required = "MLCommons' file by its checksum"
    required += ", or the hub's dataset tokenized here" if wanted.hub else ""
    yield Rule(IDENTITY, "Identity of the data", required, actual, met, note)


@judges("task")
def _prompt(case: Case) -> Iterator[Rule]:
    data = case.run.dataset
    reference = data.instruction == case.params.rules.task.instruction
    template = "chat template" if data.chat_template else "no chat template"
    actual = f"{'the reference' if reference else 'another'} instruction, {template}"
    if data.tokenized:
        actual = "the file's token ids"
    required, met = "the token ids of MLCommons' file", data.tokenized
    if case.params.rules.dataset.hub:
        required = "the reference instruction, no chat template"
        met = data.tokenized or (reference and not data.chat_template)
    yield Rule("prompt", "Prompt", required, actual, met)


# LoadGen -----------------------------------------------------------------------------------
@judges("loadgen")
def _counts(case: Case) -> Iterator[Rule]:
    """An Offline test is one query that holds all the samples."""
    settings, official = case.performance.effective_settings, case.official
    actual, needed = settings.min_duration_ms, official.min_duration_ms
    text = f"Test duration less than 600s in user config. expected={needed}, found={actual}"
    complaint = Complaint("min_duration_check", text)
    yield at_least("min-duration", "Minimum duration", actual, needed, complaint, unit=" ms")
    needed = official.min_query_count
    if case.params.scenario_traits.at_once:
        actual = settings.samples_per_query
        # The checker wants all samples (OFFLINE_MIN_SPQ_SINCE_V4), also where mlperf.conf does not.
        needed = max(needed, official.performance_sample_count_override)
        text = "Required minimum samples per query not met by user config"
        text = f"{text}, Expected={needed}, Found={actual}"
        complaint = Complaint("min_query_count_check", text, closed_only=True)
        yield at_least("query-samples", "Samples of the query", actual, needed, complaint)
    else:
        yield at_least("min-queries", "Minimum queries", settings.min_query_count, needed)
    actual = settings.performance_sample_count
    needed = official.performance_sample_count_override
    text = f"performance_sample_count, found {actual}, needs to be >= {needed}"
    complaint = Complaint("performance_sample_count_check", text)
    yield at_least("samples", "Performance samples", actual, needed, complaint)


@judges("loadgen")
def _order(case: Case) -> Iterator[Rule]:
    settings = case.performance.effective_settings
    for seed, id in SEEDS.items():
        actual, expected = getattr(settings, seed), getattr(case.official, seed)
        text = f"{seed} is wrong, expected={expected}, found={actual}"
        yield equal(id, f"Seed {seed}", actual, expected, Complaint("seeds_check", text))
    complaint = Complaint("llm_check", "use_token_latencies flag needs to be enabled")
    used = settings.use_token_latencies
    yield equal("token-latencies", "Token latencies", used, True, complaint)
    yield equal("equal-issue", "Equal issue", settings.sample_concatenate_permutation, True)


@judges("loadgen")
def _limits(case: Case) -> Iterator[Rule]:
    settings, official = case.performance.effective_settings, case.official
    traits = case.params.scenario_traits
    if found := traits.keys.get("target_latency_percentile"):
        actual, needed = settings.target_latency_percentile, getattr(official, found[0])
        yield at_least(PERCENTILE, "Percentile of the limits", actual, needed)
    if traits.limited:
        for name, title in (("ttft", "Limit on first tokens"), ("tpot", "Limit per output token")):
            ns, most_ns = (getattr(one, f"{name}_latency") for one in (settings, official))
            met, actual = (None, None) if ns is None else (ns <= most_ns, ns / 1e6)
            required = f"<= {most_ns / 1e6:g} ms"
            yield Rule(f"{name}-limit", title, required, shown(actual, " ms"), met)


# The engine ---------------------------------------------------------------------------------
@judges("engine")
def _engine(case: Case) -> Iterator[Rule]:
    """What a server was sent is known; what it does with it was not read."""
    params, options = case.params, case.params.engine_options
    unknown = departing_options(options)
    yield _prefix_caching(case)
    none = f"none ({params.engine} engine)"
    actual = str(params.sampling) if params.engine_traits.runs_model else none
    required = str(params.rules.task.sampling)
    rule = Rule("decoding", "Decoding", required, actual, actual == required)
    note = f"asked for with temperature {params.temperature:g}; what the server does is not seen"
    yield case.seen(rule, note, "asked for")
    yield from _lengths(case)
    required = "none but those that leave answers and rules alone"
    actual = "; ".join(unknown) or ", ".join(options) or "none"
    rule = Rule("engine-options", "Engine options", required, actual, not unknown)
    yield case.seen(rule, "those that the server was started with are not seen")


def _prefix_caching(case: Case) -> Rule:
    """By the server's counters, where there are any; else by the parameter of our own engine."""
    id, title, required = "prefix-caching", "Prefix caching", "off"
    counts = case.performance.server
    if counts and counts.prompt_tokens and counts.cached_tokens is not None:
        cached = counts.cached_tokens
        actual = f"measured: {cached:,} of {counts.prompt_tokens:,} prompt tokens cached"
        return Rule(id, title, required, actual, cached == 0)
    caching = case.params.enable_prefix_caching
    note = "the server has no counters of it: start it with --no-enable-prefix-caching"
    return case.seen(Rule(id, title, required, "on" if caching else "off", not caching), note)


def _lengths(case: Case) -> Iterator[Rule]:
    params, task, engine = case.params, case.params.rules.task, case.run.engine
    cap, most = params.max_new_tokens, task.max_new_tokens
    required, actual = f"{most} tokens", f"{cap} tokens"
    met, longest = cap == most, task.accuracy_max_new_tokens
    if longest:
        scored = params.scored.max_new_tokens
        required, actual = f"{required} (accuracy: {longest})", f"{actual} (accuracy: {scored})"
        met = met and scored == longest
    yield Rule("longest-answer", "Longest answer", required, actual, met)
    floor, fewest = params.min_new_tokens, task.min_new_tokens
    required, actual = f"{fewest} token", f"{floor} token"
    rule = Rule("shortest-answer", "Shortest answer", required, actual, floor == fewest)
    if rule.met and engine and "min_tokens" not in engine.options:
        rule = case.seen(rule, "the server was not asked for it: it takes OpenAI's options alone")
    yield rule


# The outcome --------------------------------------------------------------------------------
@judges("outcome")
def _by_loadgen(case: Case) -> Iterator[Rule]:
    verdict, errors = case.performance.verdict, case.performance.num_errors
    text = f"Performance result is not VALID, found={verdict}"
    complaint = Complaint("result_validity", text)
    yield equal("verdict", "LoadGen's verdict", shown(verdict), "VALID", complaint)
    complaint = Complaint("loadgen_errors_check", f"has loadgen errors, number of errors: {errors}")
    note = "; ".join(case.performance.error_lines[:3])
    yield equal("logged-errors", "Errors that LoadGen logged", errors, 0, complaint, note=note)


@judges("outcome")
def _answers(case: Case) -> Iterator[Rule]:
    test, required = case.run.performance, "2 tokens or more to every query"
    if test is None or test.latencies.empty:
        yield Rule("answers", "Answers", required, "no records", None)
        return
    faulty = {problem: found for problem, found in faulty_answers(test.latencies).items() if found}
    note = "; ".join(f"{problem}: samples {listed(found)}" for problem, found in faulty.items())
    count, total = len({row for found in faulty.values() for row in found}), len(test.latencies)
    actual = f"{count} of {total} fall short" if faulty else f"all {total}"
    yield Rule("answers", "Answers", required, actual, not faulty, note)


@judges("outcome")
def _early_stopping(case: Case) -> Iterator[Rule]:
    if case.performance.scenario_traits.judged:
        met = case.performance.loadgen_results.early_stopping_met
        complaint = Complaint("latency_check", "Early stopping condition was not met")
        yield equal("early-stopping", "Early stopping", met, True, complaint)


@judges("outcome")
def _tail(case: Case) -> Iterator[Rule]:
    """The checker looks at the 99th percentiles, at whatever percentile LoadGen judged.

    LoadGen's p99 of ``MOST_FOR_MAXIMUM`` queries or fewer is their maximum, and is called so.
    """
    if not case.performance.scenario_traits.limited:
        return
    official = case.official
    log, limits = case.performance.loadgen_results, (official.ttft_latency, official.tpot_latency)
    ttft, tpot, actual, met = log.ttft_p99_ns, log.tpot_p99_ns, "unknown", None
    complaints: tuple[Complaint, ...] = ()
    if ttft is not None and tpot is not None:
        actual = f"{ttft / 1e6:,.0f} and {tpot / 1e6:.3g} ms"
        met = ttft < limits[0] and tpot < limits[1]
        text = (
            "Failed extra check for TTFT and TPOT. "
            f"Obtained: TTFT 99-tile: {ttft:.4f}, TPOT 99-tile: {tpot:.4f}. "
            f"Required: TTFT 99-tile: {limits[0]:.4f}, TPOT 99-tile: {limits[1]:.4f}"
        )
        complaints = () if met else (Complaint("llm_check", text),)
    required = f"below {limits[0] / 1e6:g} and {limits[1] / 1e6:g} ms"
    queries = case.performance.queries
    title = f"{'Maximum' if 0 < queries <= MOST_FOR_MAXIMUM else 'p99'} of TTFT and TPOT"
    note = lacking(queries) if queries else ""
    yield Rule("p99", title, required, actual, met, note, complaints)


@judges("outcome")
def _accuracy(case: Case) -> Iterator[Rule]:
    found, required = case.run.accuracy, f"{case.run.task.scorer.main.needed} of the reference"
    if found is None:
        yield Rule("accuracy", "Accuracy", required, "not run", None)
        return
    verdict = found.verdict
    note = f"against {verdict.against}"
    if verdict.undecided:
        names = ", ".join(row.metric for row in verdict.undecided)
        note += f"; it scores 0 in {names}, which decides nothing"
    if needed := verdict.samples_needed:
        note += f"; {needed:,} samples like these would decide it"
    # The checker knows only the official limits, even if the run was judged against others.
    complaints = tuple(
        Complaint(
            "accuracy_result_check",
            f"accuracy not met: {row.metric} expected={row.required}, found={row.actual}",
            closed_only=True,
        )
        for row in official_verdict(found.score, case.params.rules).comparisons
        if not row.met and row.metric != "gen_num"
    )
    if left_out := unscored_text(found.score):
        note = f"{note}; {left_out[0].lower()}{left_out[1:-1]}"
        text = f"accuracy not complete: {left_out} Score these in MLCommons' container."
        complaints = (*complaints, Complaint("accuracy_result_check", text, closed_only=True))
    status, met = verdict.status, {"PASS": True, "FAIL": False}.get(verdict.status)
    rule = Rule("accuracy", "Accuracy", required, status, met, note, complaints)
    yield replace(rule, undecided=status == "INCONCLUSIVE")


@judges("outcome")
def _compliance(case: Case) -> Iterator[Rule]:
    if not case.params.rules.compliance:
        return
    for test in compliance_tests(case.params.rules):
        name, title = test.name, f"Compliance {test.name}"
        status = test.recorded(case.run.folder / test.folder)
        if status is None:
            missing = Complaint("dir_exists_check", f"Missing {name} in compliance dir", True)
            yield Rule(name.lower(), title, "PASS", "not run", None, "", (missing,))
        else:
            failed = Complaint("accuracy_check", f"{name} accuracy check failed", True)
            yield equal(name.lower(), title, status, "PASS", failed)


@judges("outcome")
def _round(case: Case) -> Iterator[Rule]:
    """A rule only for a benchmark that no round takes any more."""
    suite = case.params.rules.suite
    if suite.retired:
        text = f"{suite.folder} was last in {suite.last_round}, and LoadGen's seeds are newer"
        complaint = Complaint("round", text)
        required, last = f"taken in {CURRENT_ROUND}", f"last taken in {suite.last_round}"
        yield Rule("round", "Round", required, last, False, "", (complaint,))


@judges("outcome")
def _in_one_piece(case: Case) -> Iterator[Rule]:
    """A rule only for a test that was resumed: others are in one piece by themselves."""
    if case.accuracy and (resumed := case.accuracy.resumed_samples):
        actual = f"resumed: {resumed} samples are of an interrupted test"
        yield Rule("one-piece", "Accuracy test", "in one piece", actual, False)

"""A run that meets every rule, and each way to depart from one of them."""

import ast
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helpers
import pandas as pd
import pytest
from helpers import imitated, imitated_run, make_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.benchmarks.llama3_1_8b import CNN_EVAL_5000_SHA256, CNN_EVAL_SHA256, LLAMA_3_1_8B
from loadgen_study.facts.inputs import Dataset, Model
from loadgen_study.facts.scores import Accuracy
from loadgen_study.rules import conformance, verdict
from loadgen_study.rules.options import HARMLESS
from loadgen_study.rules.rule import Case, Rule, reservation, table, unchecked, undecided
from vllm_loadgen.records.engine import EngineFacts

# mlcommons/inference v6.1: mlperf.conf and inference_rules.adoc.
SEEDS = {
    "qsl_rng_seed": 2085463073848966840,
    "sample_index_rng_seed": 2747215439041700203,
    "schedule_rng_seed": 16159082839903944936,
}
SERVER_SETTINGS = SEEDS | {
    "min_duration_ms": 600000,
    "min_query_count": 100,
    "performance_sample_count": 13368,
    "sample_concatenate_permutation": True,
    "use_token_latencies": True,
    "target_latency_percentile": 0.99,
    "ttft_latency": 2_000_000_000,
    "tpot_latency": 100_000_000,
}
OFFLINE_SETTINGS = SEEDS | {
    "min_duration_ms": 600000,
    "min_query_count": 1,
    "samples_per_query": 13368,
    "performance_sample_count": 13368,
    "sample_concatenate_permutation": True,
    "use_token_latencies": True,
}
MODEL = {
    "name": "meta-llama/Llama-3.1-8B-Instruct",
    "hidden_size": 4096,
    "num_layers": 32,
    "vocab_size": 128256,
    "sha256": {
        f"model-0000{i}-of-00004.safetensors": sha
        for i, sha in enumerate(sorted(LLAMA_3_1_8B.weights_sha256), 1)
    },
}
DATASET = {
    "name": "cnn_eval.json",
    "samples": 13368,
    "total_samples": 13368,
    "checksum": f"sha256:{CNN_EVAL_SHA256}",
    "tokenized_by": "the file (tok_input)",
    "instruction": None,
    "chat_template": False,
}
SCORE = {
    "rouge1": 38.8, "rouge2": 16.0, "rougeL": 24.5, "rougeLsum": 35.8, "gen_len": 8_000_000,
    "gen_num": 13368,
}  # fmt: skip
LOGGED = {
    "early_stopping_met": True,
    "first_token_99.00_percentile_latency_ns": 400_000_000,
    "time_per_output_token_99.00_percentile_ns": 29_000_000,
}


def params(**changes: Any) -> RunParams:
    own = {"min_duration_ms": None, "min_query_count": None, "target_latency_percentile": None}
    return RunParams.from_dict({"chat_template": "off", **own, **changes})


def result(settings: dict[str, Any] = SERVER_SETTINGS, **changes: Any) -> dict[str, Any]:
    return {
        "status": "complete",
        "scenario": "Server",
        "verdict": "VALID",
        "verdict_reasons": ["Early stopping satisfied: Yes"],
        "num_errors": 0,
        "error_lines": [],
        "effective_settings": settings,
        "loadgen_results": LOGGED,
    } | changes


def records(first: list[Any], done: list[Any], tokens: list[int]) -> pd.DataFrame:
    rows = [(0, 0, 0, *times, 9, count) for *times, count in zip(first, done, tokens, strict=True)]
    return make_records(rows).assign(sample_index=range(10, 10 + len(tokens)))


GOOD_RECORDS = records([1, 2, 3], [4, 5, 6], [128, 128, 2])
Rules = Callable[..., dict[str, Rule]]
Departing = Callable[..., set[str]]


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    """The rules of an official run, or of one of which something is changed."""

    def made(**given: Any) -> dict[str, Rule]:
        of = {"params": params(), "result": result(), "records": GOOD_RECORDS, "accuracy": "PASS",
              "compliance": True} | given  # fmt: skip
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        model, dataset = MODEL | of.get("model", {}), DATASET | of.get("dataset", {})
        write_facts(folder, of["params"], model=model, dataset=dataset)
        write_test(folder / "performance", of["result"], of["records"])
        if of["accuracy"]:
            judged = {"status": of["accuracy"], "against": "x"}
            judged["comparisons"] = of.get("comparisons", [])
            found = {"score": SCORE, "verdict": judged}
            (folder / "accuracy").mkdir()
            Accuracy.model_validate(found).write(folder / "accuracy" / "accuracy.json")
        if of["compliance"]:
            (folder / "compliance").mkdir()
            text = "TEST06 verification complete\n"
            (folder / "compliance" / "verify_accuracy.txt").write_text(text)
        return {rule.title: rule for rule in conformance.rules_of(Run.open(folder))}

    return made


@pytest.fixture
def departing(rules: Rules) -> Departing:
    """The names of the rules that are broken."""

    def made(**given: Any) -> set[str]:
        return {name for name, rule in rules(**given).items() if rule.status == "not met"}

    return made


def test_an_official_run_departs_from_nothing(rules: Rules, departing: Departing) -> None:
    assert {rule.status for rule in rules().values()} == {"met"}
    assert departing() == set()
    assert len({rule.id for rule in rules().values()}) == len(rules())


def test_what_a_server_does_not_tell_is_not_checked(rules: Rules) -> None:
    served = {"params": params(engine="openai", base_url="http://a"), "model": {"sha256": {}}}
    found = rules(**served)
    unknown = {"Model", "Weights", "Prefix caching", "Decoding", "Engine options"}
    assert {name for name, rule in found.items() if rule.status == "not checked"} == unknown
    assert all(found[name].note for name in unknown)
    assert not [name for name, rule in found.items() if rule.status == "not met"]
    assert reservation(list(found.values())) == "weights that the server runs not checked"
    shape = {"model": {"sha256": {}, "hidden_size": 576}}
    assert rules(**served | shape)["Model"].status == "not met"


def test_a_server_that_takes_no_least_length_was_not_asked_for_it() -> None:
    asked = params(engine="openai", base_url="http://a")
    for options, status in (({"max_tokens": 128}, "not checked"), ({"min_tokens": 1}, "met")):
        facts = EngineFacts(engine="openai", options=options)
        run = imitated_run(imitated(GOOD_RECORDS, result(), asked), engine=facts)
        case = Case(run, conformance.NO_TEST)
        found = {rule.id: rule for rule in conformance.judge(case, "engine")}
        assert found["shortest-answer"].status == status


def test_an_official_offline_run_departs_from_nothing(rules: Rules, departing: Departing) -> None:
    given = {
        "params": params(scenario="Offline"),
        "result": result(OFFLINE_SETTINGS, scenario="Offline"),
    }
    assert departing(**given) == set()
    assert "Limit on first tokens" not in rules(**given)


def test_an_official_edge_run_departs_from_nothing_and_needs_no_test06(
    rules: Rules, departing: Departing
) -> None:
    settings = SERVER_SETTINGS | {"target_latency_percentile": 0.9}
    given = {
        "params": params(scenario="SingleStream", benchmark="llama3_1-8b-edge"),
        "result": result(settings | {"performance_sample_count": 5000}, scenario="SingleStream"),
        "dataset": {
            "samples": 5000, "total_samples": 5000, "checksum": f"sha256:{CNN_EVAL_5000_SHA256}",
        },
        "compliance": False,
    }  # fmt: skip
    assert {rule.status for rule in rules(**given).values()} == {"met"}
    assert "Compliance TEST06" not in rules(**given)


@pytest.mark.parametrize(
    ("changed", "value", "rule"),
    [
        ("min_duration_ms", 599999, "Minimum duration"),
        ("min_query_count", 99, "Minimum queries"),
        ("performance_sample_count", 13367, "Performance samples"),
        ("qsl_rng_seed", 0, "Seed qsl_rng_seed"),
        ("sample_index_rng_seed", 0, "Seed sample_index_rng_seed"),
        ("schedule_rng_seed", 0, "Seed schedule_rng_seed"),
        ("use_token_latencies", False, "Token latencies"),
        ("sample_concatenate_permutation", False, "Equal issue"),
        ("target_latency_percentile", 0.9, "Percentile of the limits"),
        ("ttft_latency", 2_000_000_001, "Limit on first tokens"),
        ("tpot_latency", 100_000_001, "Limit per output token"),
    ],
)
def test_each_setting_of_loadgen_is_a_rule(
    departing: Departing, changed: str, value: Any, rule: str
) -> None:
    assert departing(result=result(SERVER_SETTINGS | {changed: value})) == {rule}


def test_the_interactive_limits_are_its_own(departing: Departing) -> None:
    interactive = params(benchmark="llama3_1-8b-interactive")
    assert departing(params=interactive) == {"Limit on first tokens", "Limit per output token"}
    limits = {"ttft_latency": 500_000_000, "tpot_latency": 30_000_000}
    assert departing(params=interactive, result=result(SERVER_SETTINGS | limits)) == set()


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"enable_prefix_caching": True}, {"Prefix caching"}),
        ({"max_new_tokens": 64}, {"Longest answer"}),
        ({"min_new_tokens": 2}, {"Shortest answer"}),
        ({"load_format": "dummy"}, {"Weights"}),
        ({"load_format": "tensorizer"}, {"Weights"}),
        ({"engine": "echo"}, {"Weights", "Decoding"}),
        ({"engine_options": {"hf_overrides": {"num_hidden_layers": 1}}}, {"Engine options"}),
        ({"engine_options": {"speculative_config": {"model": "x"}}}, {"Engine options"}),
        ({"engine_options": {"attention_backend": "NO_ATTENTION"}}, {"Engine options"}),
        ({"engine_options": {"attention_backend": "FLASHINFER"}}, set()),
        ({"engine_options": {"async_scheduling": False, "block_size": 32}}, set()),
    ],
)
def test_each_parameter_of_the_engine_is_a_rule(
    departing: Departing, changes: dict[str, Any], broken: set[str]
) -> None:
    assert departing(params=params(**changes)) == broken


def test_a_scenario_the_benchmark_lacks_departs(departing: Departing) -> None:
    assert "Scenario" in departing(params=params(scenario="SingleStream"))


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"samples": 48}, {"Dataset"}),
        ({"samples": 48, "total_samples": 48}, {"Dataset"}),
        (
            {"name": "embedded", "tokenized_by": "this run", "instruction": "Sum up: {input}"},
            {"Dataset", "Identity of the data", "Prompt"},
        ),
    ],
)
def test_the_dataset_is_a_rule(
    departing: Departing, changes: dict[str, Any], broken: set[str]
) -> None:
    assert departing(dataset=changes) == broken


def test_the_hubs_dataset_with_the_reference_prompt_is_official(
    rules: Rules, departing: Departing
) -> None:
    own = {"name": "cnn_dailymail", "tokenized_by": "this run", "chat_template": False}
    hub = own | {"instruction": RunParams().instruction, "checksum": "fingerprint:0f"}
    assert departing(dataset=hub) == set()
    assert rules(dataset=hub)["Identity of the data"].status == "met"
    assert departing(dataset=hub | {"chat_template": True}) == {"Prompt"}


def test_other_weights_of_the_same_shape_are_told_apart(rules: Rules, departing: Departing) -> None:
    model = {"sha256": {"model.safetensors": "00"}}
    assert departing(model=model) == {"Model"}
    assert "converted or quantized" in rules(model=model)["Model"].note
    assert rules(model=model | {"hidden_size": 576})["Model"].note == ""


def test_fewer_layers_of_the_official_weights_are_another_model(departing: Departing) -> None:
    assert departing(model={"num_layers": 1}) == {"Model"}


def test_an_option_is_named_with_its_value(rules: Rules) -> None:
    options = {"block_size": 16, "hf_overrides": {"num_hidden_layers": 1}}
    found = rules(params=params(engine_options=options))["Engine options"]
    assert found.actual == "hf_overrides = {'num_hidden_layers': 1}"
    assert rules(params=params(engine_options={"block_size": 16}))["Engine options"].actual == (
        "block_size"
    )


def test_a_file_that_only_looks_official_is_never_called_so(rules: Rules) -> None:
    looks = {"dataset": {"checksum": "sha256:ab"}}
    found = rules(**looks)
    assert found["Dataset"].status == "met"
    assert found["Identity of the data"].status == "not checked"
    assert reservation(list(found.values())) == "identity of the data not checked"
    # The same file, by the checksum of the other suite's.
    edge = {"dataset": {"checksum": f"sha256:{CNN_EVAL_5000_SHA256}"}}
    assert rules(**edge)["Identity of the data"].status == "not checked"


def test_a_checksum_of_the_runners_own_is_said_to_be_one(rules: Rules) -> None:
    given = {"dataset": {"checksum": f"sha256:{'ab' * 32}"}}
    found = rules(params=params(dataset_sha256="ab" * 32), **given)
    assert found["Identity of the data"].status == "met"
    note = "identity of the data by a checksum that the runner gave"
    assert reservation(list(found.values())) == note
    other = rules(params=params(dataset_sha256="cd" * 32), **given)
    assert other["Identity of the data"].status == "not checked"


def test_the_harmless_options_are_vllms() -> None:
    """Read, not imported: that takes half a minute."""
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    source = (Path(spec.origin).parent / "engine" / "arg_utils.py").read_text()
    (args,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "EngineArgs"
    ]
    known = {node.target.id for node in args.body if isinstance(node, ast.AnnAssign)
             and isinstance(node.target, ast.Name)}  # fmt: skip
    assert set(HARMLESS) <= known
    assert not set(HARMLESS) & set(RunParams.model_fields)


def test_errors_and_answers_are_rules(rules: Rules, departing: Departing) -> None:
    errors = result(num_errors=1, error_lines=["error_runtime: n_tokens argument missing"])
    assert departing(result=errors) == {"Errors that LoadGen logged"}
    faulty = records([1, None, 3, None], [4, 5, 6, None], [128, 3, 1, 0])
    answers = rules(records=faulty)["Answers"]
    assert (answers.status, answers.actual) == ("not met", "3 of 4 fall short")
    assert (
        answers.note == "no answer: samples 13; no first token: samples 11; one token: samples 12"
    )


def test_what_was_not_looked_at_is_not_called_met(rules: Rules) -> None:
    given = {"result": {"status": "failed", "scenario": "Server"}, "accuracy": None}
    found = rules(records=GOOD_RECORDS.iloc[:0], compliance=False, **given)
    expected = {
        "Minimum duration", "Seed qsl_rng_seed", "Errors that LoadGen logged", "Answers",
        "Accuracy", "Compliance TEST06",
    }  # fmt: skip
    assert {found[name].status for name in expected} == {"not checked"}
    assert found["LoadGen's verdict"].status == "not met"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("PASS", "met"),
        ("FAIL", "not met"),
        ("INCONCLUSIVE", "undecided"),
        ("NO BASELINE", "not checked"),
    ],
)
def test_accuracy_is_a_rule(rules: Rules, status: str, expected: str) -> None:
    assert rules(accuracy=status)["Accuracy"].status == expected


def test_a_baseline_of_0_leaves_accuracy_unchecked_with_the_reason(rules: Rules) -> None:
    row = {"metric": "rouge1", "actual": 0, "reference": 0, "ratio": None, "required": ">= 0",
           "required_99_9": ">= 0", "met": False, "met_99_9": False}  # fmt: skip
    found = rules(accuracy="INCONCLUSIVE", comparisons=[row])["Accuracy"]
    assert (found.status, "0 in rouge1" in found.note) == ("undecided", True)
    assert unchecked([found]) == []
    assert undecided([found]) == [found]


@pytest.mark.parametrize(
    ("queries", "title"),
    [
        (64, "Maximum of TTFT and TPOT"),
        (100, "Maximum of TTFT and TPOT"),
        (101, "p99 of TTFT and TPOT"),
        (0, "p99 of TTFT and TPOT"),  # a file without the number
    ],
)
def test_the_p99_of_few_queries_is_called_their_maximum(rules: Rules, queries: int, title: str):
    answered = records([1] * queries, [4] * queries, [9] * queries)
    made = rules(result=result(queries=queries), records=answered if queries else GOOD_RECORDS)
    found = {one.id: one for one in made.values()}["p99"]
    assert found.title == title
    assert ("needs 662" in found.note) == bool(queries)


def test_a_valid_of_loadgens_is_passed_on_only_without_errors() -> None:
    assert verdict.effective_verdict(imitated(GOOD_RECORDS, result())).status == "VALID"
    errors = result(num_errors=2, error_lines=["error_runtime: n_tokens argument missing"])
    found = verdict.effective_verdict(imitated(GOOD_RECORDS, errors))
    assert found.text == "NOT VALID: LoadGen logged 2 errors"


def test_a_valid_without_first_tokens_is_not_passed_on() -> None:
    found = verdict.effective_verdict(imitated(records([1, None], [3, 4], [9, 9]), result()))
    assert found.text == "NOT VALID: no first token"


def test_a_valid_offline_answer_of_one_token_stays_valid_but_is_listed(rules: Rules) -> None:
    short = records([1], [3], [1])
    assert verdict.effective_verdict(imitated(short, result())).status == "VALID"
    assert rules(records=short)["Answers"].note == "one token: samples 10"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (result(verdict="INVALID", num_errors=3), "INVALID"),
        (result(verdict=None), "NO VERDICT"),
        (result(status="interrupted"), "NOT VALID: the run was interrupted"),
    ],
)
def test_other_verdicts(given: dict[str, Any], expected: str) -> None:
    assert verdict.effective_verdict(imitated(GOOD_RECORDS, given)).text == expected


def test_seeds_that_are_met_are_one_line_and_others_each_their_own(rules: Rules) -> None:
    found = list(rules().values())
    shown = table(found)
    assert len(shown) == len(found) - 2
    assert shown[shown["Rule"] == "Seeds"]["Status"].tolist() == ["met"]
    assert {"yes"} == set(shown[shown["Rule"] == "Equal issue"]["This run"])
    changed = [Rule(one.id, one.title, "1", "2", False) if one.id == "seed-qsl" else one
               for one in found]  # fmt: skip
    assert len(table(changed)) == len(found)


def test_only_official_model_and_data_get_the_official_limits() -> None:
    model, dataset = Model(**helpers.MODEL | MODEL), Dataset(**helpers.DATASET | DATASET)
    fewer = dataset.model_copy(update={"samples": 48})

    def official(dataset, **changes):
        test = imitated(GOOD_RECORDS, result(), params(**changes))
        return conformance.is_official(imitated_run(test, model=model, dataset=dataset))

    assert official(dataset)
    # The checker's limits apply to a file that looks the part.
    unknown = dataset.model_copy(update={"checksum": "sha256:ab"})
    assert official(unknown)
    assert not official(fewer)
    assert not official(dataset, load_format="dummy")


def test_settings_are_official_however_often_they_are_asked_for(rules: Rules) -> None:
    """LoadGen reads its built-in mlperf.conf once a process, if asked in another way."""
    for _ in range(3):
        assert rules()["Seed qsl_rng_seed"].required == "2085463073848966840"
        assert rules()["Token latencies"].required == "yes"


def test_table_has_a_row_a_rule(rules: Rules) -> None:
    found = list(rules().values())
    frame = table(found)
    assert list(frame.columns) == ["Rule", "Required", "This run", "Status", "Note"]
    assert len(frame) == len(found) - 2  # the three seeds are one

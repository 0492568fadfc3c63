import ast

import nbformat
import pytest
import yaml
from helpers import ROOT

from loadgen_study.params import RunParams, as_markdown, read_yaml, value_of
from vllm_loadgen.errors import BenchmarkError, ParameterError


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"targt_qps": 1}, "targt_qps = 1: is not a parameter. Did you mean target_qps?"),
        ({"target_qps": -1}, "target_qps = -1: Input should be greater than 0"),
        ({"target_qps": "fast"}, "target_qps = 'fast'"),
        ({"target_qps": 0}, "target_qps = 0"),
        ({"repeats": 0}, "repeats = 0: Input should be greater than or equal to 1"),
        ({"scenario": "Servr"}, "scenario = 'Servr': Input should be 'Offline', 'Server'"),
        ({"engine": "sglang"}, "engine = 'sglang': is none of vllm, openai, echo. It is: vllm (in"),
        ({"min_new_tokens": 64, "max_new_tokens": 32}, "min_new_tokens = 64: is above"),
        ({"instruction": "Summarize."}, "has no place for the article"),
        ({"run_name": "../x"}, "run_name = '../x': is not a plain name"),
        ({"run_name": ".."}, "run_name = '..': is not a plain name"),
        ({"run_name": " "}, "run_name = ' ': is not a plain name"),
        ({"run_name": "<b>x<"}, "run_name = '<b>x<': is not a plain name"),
        ({"run_name": "a\0"}, "run_name = 'a\\x00': holds a NUL byte"),
        ({"model": "a\0"}, "holds a NUL byte"),
        ({"target_qps": 2**63}, "target_qps = 9223372036854775808: Input should be less than"),
        ({"sweep_qps": [1e300]}, "sweep_qps = [1e+300]: Input should be less than"),
        ({"target_qps": 1e6}, "target_qps = 1000000.0: comes to 6e+07 queries in min_duration_ms"),
        (
            {"scenario": "SingleStream", "target_latency_ms": 1e-4},
            "target_latency_ms = 0.0001: comes",
        ),
        ({"target_latency_percentile": 1e-9}, "target_latency_percentile = 1e-09"),
        ({"target_latency_percentile": 0.9999999999}, "target_latency_percentile = 0.9999999999"),
        ({"ttft_limit_ms": 10**14}, "ttft_limit_ms = 100000000000000"),
        ({"warmup_queries": 10**12}, "warmup_queries = 1000000000000"),
        ({"tune": "["}, "tune = '[': is not a list or mapping"),
        ({"engine_options": "!!python/object/apply:os.system ['id']"}, "engine_options = "),
        ({"engine_options": {"dtype": "auto"}}, "engine_options.dtype = 'auto': is a parameter of"),
        ({"engine_options": {"hf_token": "hf_abc"}}, "engine_options.hf_token = '[secret]': would"),
        ({"target_qps": "auto", "scenario": "Offline"}, "target_qps = 'auto': has no meaning"),
        ({"tune": {"dataset": ["a"]}}, "tune.dataset = ['a']: cannot be varied"),
        ({"sweep_qps": "[0.5, -1]"}, "sweep_qps = '[0.5, -1]': Input should be greater than 0"),
        ({"sweep_concurrency": "4"}, "sweep_concurrency = '4': Input should be a valid list"),
        ({"benchmark": "llama3_1-8b-interactive", "scenario": "Offline"}, "scenario = 'Offline'"),
    ],
)
def test_bad_values_name_parameter_value_and_cure(values, words):
    with pytest.raises(ParameterError) as caught:
        RunParams.from_dict(values)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scenario_in_any_case_and_loadgens_own_names():
    params = RunParams.from_dict({"scenario": "offline", "min_duration": 5000})
    assert (params.scenario, params.min_duration_ms) == ("Offline", 5000)


def test_yaml_round_trip():
    params = RunParams(target_qps=3.5, engine_options={"block_size": 16})
    assert RunParams.from_dict(yaml.safe_load(params.to_yaml())) == params


def test_cpu_yaml_is_the_default_but_for_its_rate():
    derived = {"target_qps": "measured", "min_duration_ms": 40_000}
    assert RunParams.from_yaml(ROOT / "params" / "cpu.yaml") == RunParams(**derived)


@pytest.mark.parametrize("path", sorted((ROOT / "params").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_parameters_file_is_good(path):
    RunParams.from_yaml(path)


def test_the_seeds_configuration():
    params = RunParams.from_yaml(ROOT / "params" / "a30-llama3.1-8b.yaml")
    seed = {
        "dtype": "float16",
        "max_model_len": 8192,
        "tensor_parallel_size": 1,
        "gpu_memory_utilization": 0.9,
        "scenario": "Server",
        "target_qps": 0.5,
        "min_duration_ms": 120_000,
    }
    assert {name: getattr(params, name) for name in seed} == seed


def test_files_that_are_no_parameters(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("- a list\n")
    for path in (bad, tmp_path / "missing.yaml"):
        with pytest.raises(ParameterError, match="params file"):
            RunParams.from_yaml(path)


@pytest.mark.parametrize("name", ["setup", "accuracy", "perf"])
def test_notebooks_show_the_defaults(name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    defaults = RunParams().model_dump()
    assignments = ast.parse(cell.source).body
    shown = {a.target.id: ast.literal_eval(a.value) for a in assignments}
    assert shown == {parameter: defaults[parameter] for parameter in shown}
    assert all("#" in line for line in cell.source.splitlines())
    assert len(shown) < 15
    assert "Passed unknown parameter" in cell.source  # which papermill says of all others


def test_the_performance_notebook_shows_the_system_under_test():
    notebook = nbformat.read(ROOT / "notebooks" / "perf.ipynb", as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "from vllm_loadgen import Session" in code
    assert "LiveRun.start(params, sut=Session, " in code


def test_the_table_of_parameters_is_that_of_the_code():
    page = (ROOT / "params" / "README.md").read_text()
    made = page.split("held true by a test -->\n")[1].split("<!-- end -->")[0]
    assert made.strip() == as_markdown()


@pytest.mark.parametrize(
    ("given", "on"), [("on", True), ("off", False), (True, True), (False, False), ("False", False)]
)
def test_the_chat_template_is_on_or_off(given, on):
    assert RunParams.from_dict({"chat_template": given}).chat_template is on


def test_the_number_of_queries_says_how_it_is_rounded():
    said = RunParams.model_fields["min_query_count"].description
    assert "whole passes" in said
    assert "performance_samples" in said


def test_names_of_digits_are_text():
    assert RunParams.from_dict({"run_name": 20261124}).run_name == "20261124"


# What YAML 1.1, which PyYAML reads, takes for a number, a boolean, a date or nothing.
NOT_TEXT_TO_YAML = [
    "1.10", "007", "1e3", "1.0e+3", "0x1F", "0b11", "1_000", "+5", "12:30:00", "2026-11-24",
    "2026-11-24 12:30:00", "yes", "no", "on", "off", "True", "false", ".inf", ".NaN", "null", "~",
]  # fmt: skip


@pytest.mark.parametrize("name", ["dataset", "served_model", "run_name", "model_revision"])
@pytest.mark.parametrize("text", NOT_TEXT_TO_YAML)
def test_a_text_parameter_keeps_its_text_in_a_file_and_on_a_command_line(tmp_path, name, text):
    path = tmp_path / "p.yaml"
    path.write_text(f"{name}: {text}\n")
    no_value = name == "model_revision" and text in ("null", "~")
    assert read_yaml(path)[name] == value_of(name, text) == (None if no_value else text)
    path.write_text(f"{name}: '{text}'\n")
    assert read_yaml(path)[name] == text


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("min_duration_ms", "1_000", 1000), ("target_qps", "1.10", 1.1), ("workers", "4", 4),
        ("target_qps", "auto", "auto"), ("chat_template", "off", False),
        ("sweep_qps", "[1, 2]", [1.0, 2.0]), ("min_duration_ms", "None", None),
        ("quantization", "None", None), ("quantization", "", None), ("run_name", "", ""),
        ("min_query_count", "null", None), ("scenario", "offline", "Offline"),
        ("tune", "{quantization: [null, fp8]}", {"quantization": [None, "fp8"]}),
    ],
)  # fmt: skip
def test_files_and_command_lines_read_a_value_alike(tmp_path, name, text, value):
    path = tmp_path / "p.yaml"
    path.write_text(f"{name}: {text}\n")
    assert getattr(RunParams.from_yaml(path), name) == value
    assert getattr(RunParams.from_dict({name: value_of(name, text)}), name) == value


@pytest.mark.parametrize(
    "name", ["run_name", "model", "model_revision", "dataset", "outputs", "served_model", "dtype"]
)
@pytest.mark.parametrize("value", [1.1, float("inf"), True])
def test_text_that_papermill_has_changed_is_refused_with_its_cure(name, value):
    with pytest.raises(ParameterError, match=f"{name} = {value}: .*not text.* -r NAME VALUE"):
        RunParams.from_dict({name: value})


def test_what_is_not_text_is_refused_where_none_has_no_meaning():
    with pytest.raises(ParameterError, match="run_name = None: is a NoneType, not text"):
        RunParams.from_dict({"run_name": None})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run_name: a\nseed: 1\nrun_name: b\n", r"gives run_name twice \(lines 1 and 3\)"),
        ("tune:\n  dtype: [auto]\n  dtype: [float32]\n", r"gives dtype twice \(lines 2 and 3\)"),
        ("engine_options: {block_size: 16, block_size: 32}\n", "gives block_size twice"),
        ("min_duration: 1\nmin_duration_ms: 2\n", r"min_duration_ms twice \(also as min_dur"),
    ],
)
def test_a_key_twice_in_a_file_is_refused_by_name(tmp_path, text, words):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ParameterError, match=words):
        RunParams.from_yaml(path)


def test_a_key_twice_in_a_mapping_as_text_is_refused_by_name():
    with pytest.raises(ParameterError, match=r"tune = .*gives dtype twice"):
        RunParams.from_dict({"tune": "{dtype: [auto], dtype: [float32]}"})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# comment\n*.Server.target_qps = 1.0\n", "scenario: Server, target_qps: 1.0"),
        ("*.Server.target_qps = 2\n*.*.mode = 2\n", "target_qps: 2 (no parameter here: mode)"),
        (
            "llama3_1-8b.Offline.min_duration = 600000\n*.*.ttft_latency=2000\n",
            "scenario: Offline, min_duration_ms: 600000, ttft_limit_ms: 2000",
        ),
        (
            "*.Server.target_latency_percentile = 99\n*.Offline.target_qps = 7\n",
            "scenario: Server, target_latency_percentile: 0.99.",
        ),
    ],
)
def test_loadgens_user_conf_is_named_with_the_parameters_that_it_sets(tmp_path, text, names):
    path = tmp_path / "user.conf"
    path.write_text(text)
    with pytest.raises(ParameterError, match=r"LoadGen's user\.conf") as caught:
        RunParams.from_yaml(path)
    assert names in str(caught.value)


@pytest.mark.parametrize("name", ["target_qps", "target_latency_ms"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_infinite_values_are_refused_by_name(name, value):
    with pytest.raises(ParameterError, match=f"{name} = (inf|nan)"):
        RunParams.from_dict({name: value})


def test_a_benchmark_that_is_not_known():
    with pytest.raises(ParameterError, match="benchmark = 'gpt': is not known"):
        RunParams.from_dict({"benchmark": "gpt"})


@pytest.mark.parametrize(
    "content",
    [
        b"a: \xe9\n", b"5: x\n", b"a: [\n", b"- 1\n", b"a: !!bool x\n", b"a: !!int ''\n",
        b"engine_options: &a {b: *a}\n", b"tune: " + b"[" * 1000,
    ],
)  # fmt: skip
def test_a_damaged_parameters_file_is_one_line(tmp_path, content):
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match="params file") as caught:
        RunParams.from_yaml(path)
    assert "\n" not in str(caught.value)


def test_a_recorded_file_that_was_cut_is_no_run_of_defaults(tmp_path):
    text = RunParams(engine="echo").to_yaml()
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert RunParams.recorded(path).engine == "echo"
    for lines in (1, 5, len(text.splitlines()) - 1):
        path.write_text("\n".join(text.splitlines()[:lines]))
        with pytest.raises(BenchmarkError, match=r"cut short|params file"):
            RunParams.recorded(path)


def test_an_option_that_is_a_parameter_under_another_name_is_refused():
    with pytest.raises(ParameterError, match="Give executor"):
        RunParams(engine_options={"distributed_executor_backend": "ray"})


@pytest.mark.parametrize("name", ["engine_options", "dataset", "run_name"])
def test_no_parameter_holds_a_secret_of_the_environment(monkeypatch, name):
    monkeypatch.setenv("HF_TOKEN", "hf_SECRETSECRET")
    value = {"password": "hf_SECRETSECRET"} if name == "engine_options" else "x-hf_SECRETSECRET"
    with pytest.raises(ParameterError, match="would be recorded") as caught:
        RunParams.from_dict({name: value})
    assert "SECRETSECRET" not in str(caught.value)


@pytest.mark.parametrize("text", ["!!bool x", "!!int ''", "&a [*a]", "[" * 1000])
def test_a_list_that_is_no_plain_yaml_is_one_error(text):
    with pytest.raises(ParameterError, match="is not a list or mapping in YAML or JSON"):
        RunParams.from_dict({"sweep_qps": text})


@pytest.mark.parametrize(
    ("given", "urls"),
    [
        ("http://127.0.0.1:8000", ["http://127.0.0.1:8000"]),
        ("http://host:8000/v1/", ["http://host:8000"]),
        ("https://host/api/v1", ["https://host/api"]),
        ("http://host:8000/v1/completions", ["http://host:8000"]),
        ("http://host:8000/v1/chat/completions/", ["http://host:8000"]),
        ("http://host:8000/v1/models", ["http://host:8000"]),
        ("https://host/api//v1//completions//", ["https://host/api"]),
        ("http://host/inference/v1/generate", ["http://host"]),
        ("https://host/inference/v1", ["https://host/inference"]),
        ("http://host/models", ["http://host/models"]),
        ("[http://a:1, http://b:2]", ["http://a:1", "http://b:2"]),
        (["http://a:1", "http://b:2/"], ["http://a:1", "http://b:2"]),
    ],
)
def test_servers_as_a_user_writes_them(given, urls):
    params = RunParams.from_dict({"engine": "openai", "base_url": given})
    assert params.base_url == urls
    assert RunParams.from_dict(yaml.safe_load(params.to_yaml())) == params


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": "openai"}, "base_url = .*names no server"),
        ({"base_url": "http://a"}, "has no meaning with engine vllm"),
        ({"served_model": "a"}, "served_model = 'a': has no meaning"),
        ({"engine": "openai", "base_url": "host:8000"}, "base_url = .*an invalid URL: write"),
        ({"engine": "openai", "base_url": "http://a b"}, "base_url = .*an invalid URL"),
        ({"engine": "openai", "base_url": "http://a:port"}, "base_url = .*an invalid URL"),
        ({"engine": "openai", "base_url": "ftp://a"}, "base_url = .*an invalid URL"),
        ({"engine": "openai", "base_url": "http://a?x=1"}, "give the server's address alone"),
        ({"engine": "openai", "base_url": ["http://a", "http://a/v1"]}, "holds a URL twice"),
        ({"engine": "openai", "base_url": "http://a", "max_num_seqs": 4}, "max_num_seqs = 4: bel"),
        ({"engine": "openai", "base_url": "http://a", "tune": {"seed": [1]}}, "tune.seed"),
        (
            {"engine": "openai", "base_url": "http://a", "tune": {"max_num_seqs": [1]}},
            "cannot be varied within a run. Take one of target_qps, concurrency",
        ),
        ({"engine": "echo", "serve": True}, "serve = True: starts no echo"),
        ({"compare_in_process": True}, "nothing to compare with"),
        ({"price_per_hour": 0}, "price_per_hour = 0"),
    ],
)
def test_servers_that_cannot_be_asked(changes, words):
    with pytest.raises(ParameterError, match=words):
        RunParams.from_dict(changes)


def test_a_password_in_a_url_stands_in_no_message():
    url = "http://me:secret-word@host:8000"
    with pytest.raises(ParameterError, match="holds a user or a password") as caught:
        RunParams.from_dict({"engine": "openai", "base_url": url})
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("urls", "here"),
    [
        (["http://127.0.0.1:1", "http://localhost:2", "http://[::1]:3"], True),
        (["http://127.0.0.1:1", "http://other:2"], False),
    ],
)
def test_whether_a_server_is_this_machine(urls, here):
    assert RunParams(engine="openai", base_url=urls).here is here

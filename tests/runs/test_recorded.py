"""What changes prompts, answers or speed is recorded, refused within a run, and listed between
runs."""

import datetime
import json
import shutil

import pytest
from helpers import echo_params, write_articles

from loadgen_study import LiveRun, Run, RunParams
from loadgen_study.inputs.environment import variables
from loadgen_study.inputs.models import embedded_checkpoint
from loadgen_study.report.sections import provenance
from loadgen_study.runs import compare
from vllm_loadgen import BenchmarkError

pytestmark = pytest.mark.process

VARIABLES = {
    "OMP_NUM_THREADS": "1", "LD_PRELOAD": "libjemalloc.so.2", "VLLM_CPU_OMP_THREADS_BIND": "0",
    "VLLM_ATTENTION_BACKEND": "TORCH_SDPA", "LC_ALL": "C", "NVIDIA_TF32_OVERRIDE": "0",
    "TORCHDYNAMO_DISABLE": "1", "FLASHINFER_DISABLE_JIT": "1", "CUDNN_LOGLEVEL_DBG": "0",
}  # fmt: skip


@pytest.fixture
def model(tmp_path):
    """A copy of the embedded model's folder, but for its weights, with a merges.txt."""
    weights = "model.safetensors"
    ignored = shutil.ignore_patterns(weights)
    folder = shutil.copytree(embedded_checkpoint(), tmp_path / "model", ignore=ignored)
    (folder / weights).symlink_to(embedded_checkpoint() / weights)
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return folder


@pytest.fixture
def params(tmp_path, model):
    dataset = write_articles(tmp_path / "a.jsonl", 4)
    return echo_params(
        model=str(model), dataset=str(dataset), outputs=str(tmp_path / "out"), run_name="r",
        min_query_count=4, min_duration_ms=100,
    )  # fmt: skip


def measured(params) -> Run:
    with LiveRun.start(params) as run:
        run.perform("performance")
    return run.read()


def listed(params) -> list[str]:
    """The names in the table of what differs between the run ``r`` and the same as ``other``."""
    first = Run.open(params.outputs + "/r")
    other = measured(params.changed(run_name="other"))
    return compare.changed_table([compare.digest(first), compare.digest(other)]).index.tolist()


def changed(path):
    """Change a file's bytes; it stays readable."""
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("<|im_start|>user", "User:") + "\n", encoding="utf-8")


def test_changed_files_of_the_checkpoint(params, model):
    measured(params)
    names = ["chat_template.jinja", "tokenizer.json", "merges.txt", "generation_config.json"]
    for name in names:
        kept = (model / name).read_bytes()
        changed(model / name)
        with pytest.raises(BenchmarkError, match=f"another {name}.*another run_name"):
            LiveRun.start(params)
        (model / name).write_bytes(kept)
    for name in names:
        changed(model / name)
    assert {f"model's file {name}" for name in names} <= set(listed(params))


def test_changed_environment_variables(params, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    params = params.changed(model=RunParams().model)
    measured(params)
    for name, value in VARIABLES.items():
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            with pytest.raises(BenchmarkError, match=f"variable {name} = unset, not '{value}'"):
                LiveRun.start(params)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert set(listed(params)) == {f"variable {name}" for name in VARIABLES}
    params = params.changed(run_name="other")
    table = provenance.table(Run.open(params.outputs + "/other"))
    for name, value in VARIABLES.items():
        assert table.loc[f"variable {name}", "value"] == value
        with monkeypatch.context() as patched:
            patched.delenv(name)
            with pytest.raises(BenchmarkError, match=f"variable {name} = '{value}', not unset"):
                LiveRun.start(params)


def test_no_secret_and_no_path_of_a_user_is_recorded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("VLLM_API_KEY", "sk-a-secret-value")
    monkeypatch.setenv("VLLM_PLUGINS", "sk-a-secret-value")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/home/ada/lib:/usr/lib")
    found = variables()
    assert found["LD_LIBRARY_PATH"] == "~/lib:/usr/lib"
    assert "secret" not in str(found)


def test_a_template_that_asks_for_the_date_gets_a_fixed_one(params, model, monkeypatch):
    template = model / "chat_template.jinja"
    text = template.read_text(encoding="utf-8")
    template.write_text("{{ strftime_now('%d %b %Y') }}" + text, encoding="utf-8")
    first = LiveRun.start(params)
    assert first.samples.facts.template_date == "2024-07-26"
    assert "26 Jul 2024" in first.tokenizer.decode(list(first.samples.prompts[0]))

    class Tomorrow(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + datetime.timedelta(days=1)

    monkeypatch.setattr(datetime, "datetime", Tomorrow)
    again = LiveRun.start(params)
    assert again.samples.facts.prompts_sha256 == first.samples.facts.prompts_sha256
    date = provenance.table(first.read()).loc["date in the chat template", "value"]
    assert date == "2024-07-26"


def test_other_prompts_of_the_same_data_are_refused(params, model):
    """By their token ids, whatever made them."""
    run = measured(params)
    path = run.folder / "dataset.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(facts | {"prompts_sha256": "ab" * 32}), encoding="utf-8")
    with pytest.raises(BenchmarkError, match=r"prompts differ.*another run_name"):
        LiveRun.start(params)

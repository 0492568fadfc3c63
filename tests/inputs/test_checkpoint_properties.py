"""A checkpoint's headers and config.json, damaged: it is weighed, or refused in one line."""

import json

import pytest
from damage import damaged_bytes, damaged_json, known_errors
from hypothesis import given
from hypothesis import strategies as st

from loadgen_study.inputs.checkpoint import INDEX, SINGLE, read_headers, weigh
from loadgen_study.inputs.config import Config

HEADER = {
    "__metadata__": {"format": "pt"},
    "model.embed_tokens.weight": {"dtype": "BF16", "shape": [16, 4], "data_offsets": [0, 128]},
    "model.layers.0.mlp.qweight": {"dtype": "I32", "shape": [4, 4], "data_offsets": [128, 192]},
}
VALUES = {
    "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 16,
    "intermediate_size": 8, "num_local_experts": 4, "num_experts_per_tok": 2,
    "quantization_config": {"quant_method": "gptq", "bits": 4, "config_groups": {"a": {}}},
    "text_config": {"hidden_size": 4}, "tie_word_embeddings": True,
}  # fmt: skip
SHARDS = {"weight_map": {"model.embed_tokens.weight": SINGLE}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("model")


def stored(header):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(192)


def write(folder, values=VALUES, content=None, shards=None):
    (folder / "config.json").write_text(json.dumps(values))
    (folder / SINGLE).unlink(missing_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    if content is not None:
        (folder / SINGLE).write_bytes(content)
    if shards is not None:
        (folder / INDEX).write_text(json.dumps(shards))


def read(folder):
    weights = weigh(Config(folder), "bfloat16")
    assert weights is None or weights.parameters >= 0
    assert weights is None or weights.weight_bytes >= 0


@given(damaged_bytes(stored(HEADER)))
def test_a_header_with_other_bytes(folder, content):
    write(folder, content=content)
    with known_errors():
        read(folder)


@given(damaged_json(HEADER))
def test_a_header_with_other_values(folder, header):
    write(folder, content=stored(header))
    with known_errors():
        read(folder)


@given(damaged_json(VALUES), st.booleans())
def test_a_config_with_other_values(folder, values, headers):
    write(folder, values, stored(HEADER) if headers else None)
    with known_errors():
        read(folder)


@given(damaged_json(SHARDS))
def test_an_index_with_other_values(folder, shards):
    write(folder, content=stored(HEADER), shards=shards)
    with known_errors():
        read_headers(folder)

"""The files for GPUs as vLLM sees them, on a machine without one (``stand_in``)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from loadgen_study.params import RunParams

pytestmark = pytest.mark.process
STAND_IN = Path(__file__).with_name("stand_in.py")
# meta-llama/Llama-3.1-8B-Instruct's public config.json.
SHAPE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 131072, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


def seen_by_vllm(folder, *files):
    """What vLLM makes of each file, by its name."""
    (folder / "config.json").write_text(json.dumps(SHAPE))
    command = [sys.executable, str(STAND_IN), str(folder), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == len(files), done.stderr[-2000:]
    return {found.pop("file"): found for found in map(json.loads, lines)}


def test_vllm_takes_every_file_for_a_gpu(tmp_path):
    # A server has its own options; those of kubernetes.yaml are tests/test_clusters.py's.
    others = ("cpu", "kubernetes")
    files = [path for path in sorted((ROOT / "params").glob("*.yaml")) if path.stem not in others]
    # Weights in fp8 would have vLLM ask its compiled kernels, which a CPU build has not.
    fp8 = tmp_path / "fp8.yaml"
    changes = {"dtype": "bfloat16", "kv_cache_dtype": "fp8", "tensor_parallel_size": 2}
    fp8.write_text(RunParams.from_yaml(files[0], **changes).to_yaml())
    renamed = tmp_path / "renamed.yaml"
    renamed.write_text(RunParams(engine_options={"max_num_sequences": 9}).to_yaml())
    found = seen_by_vllm(tmp_path, *files, fp8, renamed)
    for path in files:
        params, taken = RunParams.from_yaml(path), found[path.name]
        assert "error" not in taken, taken
        assert taken["prefix_caching"] is False
        if params.dtype != "auto":
            assert taken["dtype"] == params.dtype
        if params.max_num_seqs:
            assert taken["max_num_seqs"] == params.max_num_seqs
        assert [taken[name] for name in PARALLEL] == [getattr(params, name) for name in PARALLEL]
        if params.executor:
            assert taken["executor"] == params.executor
    taken = found["fp8.yaml"]
    assert (taken["kv_cache_dtype"], taken["tensor_parallel_size"]) == ("fp8", 2)
    # What vLLM no longer has is seen here, not on the GPU.
    assert "engine_options.max_num_sequences" in found["renamed.yaml"]["error"]

"""vLLM's own look at parameters files for a GPU, where there is none: a process of its own.

Called with a model's shape and files of parameters; prints a line of JSON for each. It stands in
for the platform, so that vLLM takes options for CUDA, and for the compiled modules that the CPU
build lacks. That options exist and fit together is all that it shows.
"""

import json
import sys
import types
from pathlib import Path

COMPILED = (
    "_C", "_moe_C", "_C_stable_libtorch", "_moe_C_stable_libtorch", "vllm_flash_attn._vllm_fa2_C",
    "vllm_flash_attn._vllm_fa3_C",
)  # fmt: skip
for name in COMPILED:
    sys.modules.setdefault(f"vllm.{name}", types.ModuleType(f"vllm.{name}"))

from vllm import AsyncEngineArgs, platforms  # noqa: E402
from vllm.platforms.cuda import NonNvmlCudaPlatform  # noqa: E402
from vllm.platforms.interface import DeviceCapability  # noqa: E402

from loadgen_study.params import RunParams  # noqa: E402
from vllm_loadgen.engines.vllm import engine_args  # noqa: E402


class StandIn(NonNvmlCudaPlatform):
    """Eight H200 that nobody has."""

    @classmethod
    def get_device_capability(cls, device_id=0):
        return DeviceCapability(9, 0)

    @classmethod
    def get_device_name(cls, device_id=0):
        return "stand-in"

    @classmethod
    def get_device_total_memory(cls, device_id=0):
        return 141 * 2**30

    @classmethod
    def device_count(cls):
        return 8

    @classmethod
    def check_if_supports_dtype(cls, dtype):
        pass


def main(shape: str, *files: str) -> None:
    platforms._current_platform = StandIn()
    for file in files:
        params = RunParams.from_yaml(file)
        found = {"file": Path(file).name}
        try:
            config = AsyncEngineArgs(**engine_args(params, shape)).create_engine_config()
        except Exception as error:
            found["error"] = f"{type(error).__name__}: {error}"[:500]
        else:
            found |= {
                "dtype": str(config.model_config.dtype).removeprefix("torch."),
                "quantization": config.model_config.quantization,
                "kv_cache_dtype": config.cache_config.cache_dtype,
                "max_num_seqs": config.scheduler_config.max_num_seqs,
                "prefix_caching": config.cache_config.enable_prefix_caching,
                "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
                "pipeline_parallel_size": config.parallel_config.pipeline_parallel_size,
                "data_parallel_size": config.parallel_config.data_parallel_size,
                "executor": config.parallel_config.distributed_executor_backend,
            }
        print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

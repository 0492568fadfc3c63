"""A test's identity: all that can change its result, whatever its folder is called.

A test of a known identity need not be made again; tests of different machines, engines, models or
data must not lie in one run.
"""

from collections.abc import Mapping

from loadgen_study.facts.inputs import Dataset, Environment, Model
from loadgen_study.params import RunParams
from vllm_loadgen.records.result import Mode
from vllm_loadgen.traits import engine_packages

Identity = Mapping[str, object]

# Packages other than the engines' that compute the answers or keep the time.
DECISIVE = ("torch", "transformers", "mlcommons-loadgen")
# PyTorch sets it when it is imported, so a worker lacks it: a place of files, without effect.
SET_BY_PYTORCH = "TORCHINDUCTOR_CACHE_DIR"


def identity(
    mode: Mode, params: RunParams, model: Model, dataset: Dataset, environment: Environment
) -> Identity:
    """All that can change the result of a test, by name."""
    ignored = params.names("ignored")
    if mode == "accuracy":
        ignored += params.names("performance")
    return {
        **params.model_dump(exclude={*ignored}),
        "base_url": sorted(params.base_url),  # in any order they are the same servers
        "model's weights": [f"{name} {sha[:12]}" for name, sha in model.weights_sha256.items()],
        "dtype": model.dtype,
        "dataset's checksum": dataset.checksum,
        "samples": dataset.samples,
        "prompts": dataset.prompts_sha256[:12],
        **machine_identity(environment),
    }


def machine_identity(environment: Environment) -> Identity:
    """The part of an identity that describes machine and software."""
    packages, variables = environment.packages, dict(environment.variables)
    variables.pop(SET_BY_PYTORCH, None)
    return {
        "CPU": environment.cpu.model,
        "cores": environment.cpu.cores,
        "GPUs": [gpu.name for gpu in environment.gpus],
        "GPU driver": environment.gpu_driver,
        "CPU quota, cores": environment.cpu.quota_cores,
        **{f"version of {name}": packages.get(name) for name in (*engine_packages(), *DECISIVE)},
        **{f"variable {name}": value for name, value in variables.items()},
    }


def difference(made: Identity, wanted: Identity) -> str:
    """The first thing in which two identities differ, as "NAME = MADE, not WANTED"; or nothing."""
    for name in {**wanted, **made}:
        if made.get(name) != wanted.get(name):
            return f"{name} = {_shown(made.get(name))}, not {_shown(wanted.get(name))}"
    return ""


def _shown(value: object) -> str:
    return "unset" if value is None else repr(value)

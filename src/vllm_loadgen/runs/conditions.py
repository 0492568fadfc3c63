"""Under what conditions a run was made: what a comparison must know beside parameters and figures.

Names of hosts, users and folders are none of it: it travels in notebooks that are sent.
"""

from collections.abc import Iterable, Mapping

from pydantic import Field, JsonValue, field_validator

from vllm_loadgen.facts.base import Part
from vllm_loadgen.results.run import Run
from vllm_loadgen.rules.conformance import rules_of
from vllm_loadgen.rules.rule import departures

# What makes two checkpoints the same model in other weights, as a quantized one is.
SHAPE = ("architecture", "num_layers", "hidden_size", "num_heads", "num_kv_heads", "vocab_size")
SHA_SHOWN = 12
RENAMED = {"Least duration": "Minimum duration", "Least queries": "Minimum queries"}


class Conditions(Part):
    """Machine, software, model and data of a run, and the rules that it departs from.

    Attributes:
        gpus: those that were used, by name. commit, changed: of this program's checkout.
        shape: of the model, by the names of ``SHAPE``. weights_sha256: by file name.
        data_checksum, samples: of the dataset.
        departures: the names of the rules.
    """

    cpu: str
    cores: int
    memory_gib: float
    gpus: tuple[str, ...] = ()
    gpu_driver: str | None = None
    python: str
    packages: dict[str, str] = Field(default_factory=dict)
    commit: str | None = None
    changed: bool | None = None
    shape: dict[str, JsonValue]
    weights_sha256: dict[str, str]
    data_checksum: str
    samples: int
    departures: tuple[str, ...] = ()

    @field_validator("departures")
    @classmethod
    def _by_todays_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Rules by what they are called now: notebooks that were sent keep the old names."""
        return tuple(RENAMED.get(name, name) for name in names)

    def rows(self, packages: Iterable[str], rules: Iterable[str]) -> dict[str, str]:
        """Each of them as a reader would compare it, by its name; "none" for what is not there.

        Args:
            packages, rules: those of all runs that are compared: of each it is said here.
        """
        shas = sorted(f"{name} {sha[:SHA_SHOWN]}" for name, sha in self.weights_sha256.items())
        checksum = self.data_checksum.partition(":")[2] or self.data_checksum
        found: Mapping[str, object] = {
            "CPU": self.cpu,
            "cores": self.cores,
            "memory, GiB": self.memory_gib,
            "GPUs": ", ".join(self.gpus),
            "GPU driver": self.gpu_driver,
            "Python": self.python,
            **{f"version of {name}": self.packages.get(name) for name in packages},
            "commit of this program": self.commit and self.commit[:SHA_SHOWN],
            "changed since the commit": self.changed,
            "model's shape": ", ".join(f"{key} {value}" for key, value in self.shape.items()),
            "model's weights": ", ".join(shas),
            "checksum of the data": checksum[:SHA_SHOWN],
            "samples of the data": self.samples,
            **{f"rule not met: {name}": name in self.departures for name in rules},
        }
        return {
            name: "none" if value in (None, "") else str(value) for name, value in found.items()
        }


def conditions_of(run: Run) -> Conditions:
    """The conditions of a run's performance test."""
    where, model, data = run.environment, run.model, run.dataset
    return Conditions(
        cpu=where.cpu.model,
        cores=where.cpu.cores,
        memory_gib=where.cpu.memory_gib,
        gpus=tuple(gpu.name for gpu in where.gpus),
        gpu_driver=where.gpu_driver,
        python=where.python,
        packages=where.packages,
        commit=where.git.commit,
        changed=where.git.dirty,
        shape={name: getattr(model, name) for name in SHAPE},
        weights_sha256=model.weights_sha256,
        data_checksum=data.checksum,
        samples=data.samples,
        departures=tuple(rule.rule for rule in departures(rules_of(run))),
    )

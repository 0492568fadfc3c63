"""The conditions of a run that a comparison needs, besides its parameters and figures.

They hold no names of hosts, users or folders: they are part of notebooks that are sent to others.
"""

from collections.abc import Iterable, Sequence

from pydantic import JsonValue

from loadgen_study.params import NOT_KNOWN
from loadgen_study.results.run import Run
from loadgen_study.rules.conformance import rules_of
from loadgen_study.rules.rule import departures
from vllm_loadgen.records.base import Part
from vllm_loadgen.traits import engine_packages

# Equal for two checkpoints of one model with other weights, such as quantized ones.
SHAPE = ("architecture", "num_layers", "hidden_size", "num_heads", "num_kv_heads", "vocab_size")
SHA_SHOWN = 12


class Conditions(Part):
    """Machine, software, model and data of a run, and the rules that it departs from.

    Attributes:
        gpus: those that were used, by name. commit, changed: of this program's checkout.
        quota_cores, variables: as in environment.json.
        shape: of the model, by the names of ``SHAPE``. weights_sha256, files_sha256: by file name,
            of the weights and of the checkpoint's other files.
        data_checksum, samples, prompts_sha256: of the dataset.
        departures: titles of the rules by their ids.
        served: by a server that ran already: its weights and packages are not known, and the
            machine is the client's.
    """

    cpu: str
    cores: int
    memory_gib: float
    gpus: tuple[str, ...] = ()
    gpu_driver: str | None = None
    python: str
    packages: dict[str, str]
    quota_cores: float | None = None
    variables: dict[str, str]
    commit: str | None = None
    changed: bool | None = None
    shape: dict[str, JsonValue]
    weights_sha256: dict[str, str]
    files_sha256: dict[str, str]
    data_checksum: str
    samples: int
    prompts_sha256: str
    departures: dict[str, str]
    served: bool = False

    def rows(self, compared: Sequence["Conditions"]) -> dict[str, str]:
        """Each condition by its name, as text; "none" for what this run does not have.

        Args:
            compared: of all runs: what one of them has is a row of each.
        """
        packages = _names(one.packages for one in compared)
        weights = [f"{name} {_short(sha)}" for name, sha in self.weights_sha256.items()]
        found: dict[str, object] = {
            "CPU": self.cpu,
            "cores": self.cores,
            "CPU quota, cores": self.quota_cores,
            "memory, GiB": self.memory_gib,
            "GPUs": ", ".join(self.gpus),
            "GPU driver": self.gpu_driver,
            "Python": self.python,
            **{f"version of {name}": self.packages.get(name) for name in packages},
            "commit of this program": self.commit and self.commit[:SHA_SHOWN],
            "changed since the commit": self.changed,
            "model's shape": ", ".join(f"{key} {value}" for key, value in self.shape.items()),
            "model's weights": ", ".join(sorted(weights)),
            "checksum of the data": _short(self.data_checksum),
            "samples of the data": self.samples,
        }
        if self.served:
            computing = (*engine_packages(), "torch")
            unknown = ("model's weights", *(f"version of {name}" for name in computing))
            found = {name: NOT_KNOWN if name in unknown else value for name, value in found.items()}
        rules = {id: title for one in compared for id, title in one.departures.items()}
        found |= {f"rule not met: {title}": id in self.departures for id, title in rules.items()}
        found["prompts"] = _short(self.prompts_sha256)
        names, files = _names(one.files_sha256 for one in compared), self.files_sha256
        found |= {f"model's file {name}": _short(files.get(name, "")) for name in names}
        names = _names(one.variables for one in compared)
        found |= {f"variable {name}": self.variables.get(name) for name in names}
        return {
            name: "none" if value in (None, "") else str(value) for name, value in found.items()
        }


def _names(groups: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def _short(checksum: str) -> str:
    return checksum.rpartition(":")[2][:SHA_SHOWN]


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
        quota_cores=where.cpu.quota_cores,
        variables=where.variables,
        commit=where.git.commit,
        changed=where.git.dirty,
        shape={name: getattr(model, name) for name in SHAPE},
        weights_sha256=model.weights_sha256,
        files_sha256=model.other_sha256,
        data_checksum=data.checksum,
        samples=data.samples,
        prompts_sha256=data.prompts_sha256,
        served=not run.params.engine_traits.started_here,
        departures={rule.id: rule.title for rule in departures(rules_of(run))},
    )

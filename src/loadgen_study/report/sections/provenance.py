"""What reproduces a run, and how to cite it."""

import hashlib
import shlex
from collections.abc import Sequence

import pandas as pd

from loadgen_study.params import NOT_KNOWN
from loadgen_study.prose import render
from loadgen_study.report.display import named
from loadgen_study.report.sections import subject
from loadgen_study.results.run import Run
from loadgen_study.rules.rule import Rule, standing

RECORDS = "records.parquet"


def text(run: Run) -> str:
    """The command that repeats the run, and whether its commit has all of its code."""
    return render(
        "report/sections/provenance",
        file=shlex.quote(run.display_path("params.yaml")),
        changed=run.environment.git.dirty,
    )


def methods(run: Run, rules: Sequence[Rule]) -> str:
    """A paragraph and a line to copy; empty without a performance test.

    The hash is of the test's records, which a bundle of the run holds unchanged.
    """
    if (test := run.performance) is None or not (records := test.folder / RECORDS).is_file():
        return ""
    packages, git = run.environment.packages, run.environment.git
    return render(
        "report/sections/methods",
        measured=subject.measured(run),
        engine=subject.engine(run),
        devices=subject.devices(run),
        loadgen=packages.get("mlcommons-loadgen", NOT_KNOWN),
        queries=len(test.latencies),
        commit=(git.commit or NOT_KNOWN)[:12],
        standing=standing(rules),
        title=f"{run.model.name}, {test.result.scenario}",
        version=packages.get("vllm-loadgen", NOT_KNOWN),
        date=test.result.started_at[:10],
        kept=RECORDS,
        sha256=hashlib.sha256(records.read_bytes()).hexdigest(),
    )


def table(run: Run) -> pd.DataFrame:
    """Versions, checksums and seeds."""
    environment, dataset = run.environment, run.dataset
    git = environment.git
    template = {"date in the chat template": dataset.template_date}
    rows: dict[str, object] = {
        "git commit": f"not known: {git.problem}" if git.problem else git.commit,
        "changed since the commit": git.dirty,
        "command": environment.command,
        "dataset": f"{dataset.source}, {dataset.samples} of {dataset.total_samples}",
        "dataset checksum": dataset.checksum,
        "SHA-256 of the prompts' token ids": dataset.prompts_sha256,
        **(template if dataset.template_date else {}),
        **_files(run),
        "operating system": environment.os,
        "python": environment.python,
        **environment.packages,
        **{f"variable {name}": value for name, value in environment.variables.items()},
    }
    if run.performance is not None:
        settings = run.performance.result.effective_settings.model_dump()
        rows |= {name: str(settings[name]) for name in settings if name.endswith("rng_seed")}
    return named(rows)


def _files(run: Run) -> dict[str, str]:
    """The checkpoint's files by their hashes; the weights of a server are not known."""
    served = not run.params.engine_traits.started_here
    files = run.model.other_sha256 if served else run.model.sha256
    rows = {f"SHA-256 of {name}": sha for name, sha in files.items()}
    return rows | ({"weights of the server": NOT_KNOWN} if served else {})

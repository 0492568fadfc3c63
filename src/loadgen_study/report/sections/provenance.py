"""What reproduces a run."""

import shlex

import pandas as pd

from loadgen_study.params import NOT_KNOWN
from loadgen_study.prose import render
from loadgen_study.report.display import named
from loadgen_study.results.run import Run


def text(run: Run) -> str:
    """The command that repeats the run, and whether its commit has all of its code."""
    return render(
        "report/sections/provenance",
        file=shlex.quote(run.display_path("params.yaml")),
        changed=run.environment.git.dirty,
    )


def table(run: Run) -> pd.DataFrame:
    """Versions, checksums and seeds."""
    environment, dataset = run.environment, run.dataset
    git = environment.git
    rows: dict[str, object] = {
        "git commit": f"not known: {git.problem}" if git.problem else git.commit,
        "changed since the commit": git.dirty,
        "command": environment.command,
        "dataset": f"{dataset.source}, {dataset.samples} of {dataset.total_samples}",
        "dataset checksum": dataset.checksum,
        "SHA-256 of the prompts' token ids": dataset.prompts_sha256,
        **({"date in the chat template": date} if (date := dataset.template_date) else {}),
        **_files(run),
        "operating system": environment.os,
        "python": environment.python,
        **environment.packages,
        **{f"variable {name}": value for name, value in environment.variables.items()},
    }
    if run.performance is not None:
        settings = run.performance.result.effective_settings.model_dump()
        seeds = {name: str(settings[name]) for name in settings if name.endswith("rng_seed")}
        rows |= seeds
    return named(rows)


def _files(run: Run) -> dict[str, str]:
    """The checkpoint's files by their hashes; the weights of a server are not known."""
    served = not run.params.engine_traits.started_here
    files = run.model.other_sha256 if served else run.model.sha256
    rows = {f"SHA-256 of {name}": sha for name, sha in files.items()}
    return rows | ({"weights of the server": NOT_KNOWN} if served else {})

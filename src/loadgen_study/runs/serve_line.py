"""The command that serves a run's model to users: ``vllm serve`` with the options of the run."""

import shlex

from loadgen_study.results.run import Run
from vllm_loadgen.engines.vllm import HARNESS, command_line, cpu_variables, given_options


def serve_line(run: Run) -> str:
    """One whole command for a shell; empty for a run of another engine than vLLM.

    With the options that vLLM ran with, the harness's own left out. Before vLLM was loaded: those
    that the parameters give.
    """
    params = run.params
    if params.engine != "vllm":
        return ""
    known = run.engine.options if run.engine else {}
    options = {name: v for name, v in (known or given_options(params)).items()
               if name not in HARNESS}  # fmt: skip
    revision = ["--revision", params.model_revision] if params.model_revision else []
    words = ["vllm", "serve", params.model, *command_line(options), *revision]
    on_cpu = {} if run.environment.gpus else cpu_variables(params, run.environment.cpu.cores)
    return " ".join([*(f"{name}={value}" for name, value in on_cpu.items()), shlex.join(words)])

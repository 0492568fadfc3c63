"""What was measured, on what: the lines under a report's title."""

from loadgen_study.params import NOT_KNOWN
from loadgen_study.prose import plain
from loadgen_study.results.run import Run
from loadgen_study.words import count


def devices(run: Run) -> str:
    """What answered, as far as it is known."""
    machine = run.environment
    found = f"{count(machine.cpu.cores, 'core')} of {machine.cpu.model}"
    if machine.gpus:
        found = f"{len(machine.gpus)} x {machine.gpus[0].name}"
        if (elsewhere := run.devices - len(machine.gpus)) > 0:
            found += f" and {count(elsewhere, 'GPU')} of other machines"
    if run.params.engine_traits.started_here:
        return found
    asked = f"{count(len(run.params.base_url), 'server')}, asked from {found}"
    return asked if run.params.here else f"{asked} (the server's machine was not measured)"


def engine(run: Run) -> str:
    """What answered the queries, with its version if that is known: "vLLM 0.32.0"."""
    title = run.params.engine_traits.title or run.params.engine
    return f"{title} {(run.engine and run.engine.version) or ''}".strip()


def measured(run: Run) -> str:
    """What was asked of which model, in a sentence."""
    model, data, test, task = run.model, run.dataset, run.performance, run.task
    built_in = data.name == "embedded"
    what = count(data.total_samples, f"built-in {task.subject}" if built_in else "sample")
    if data.samples != data.total_samples:
        what = f"{data.samples:,} of the {what}"
    what += "" if built_in else f" of {plain(data.name)}"
    did = task.verb if data.instruction == task.instruction else "answers"
    how = f", in LoadGen's {plain(test.result.scenario)} scenario" if test else ""
    dtype = plain(model.dtype or f"type {NOT_KNOWN}")
    return f"{plain(model.name)} ({model.size_text}, {dtype}) {did} {what}{how}."

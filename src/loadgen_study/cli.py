"""The console command: ``vllm-loadgen report``, ``submission``, ``check`` and their like."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from loadgen_study import share
from loadgen_study.analysis.sizing import Demand
from loadgen_study.doctor import examine
from loadgen_study.params import RunParams, as_markdown, read_yaml, value_of
from loadgen_study.results.bundles import SUFFIX, find_within
from loadgen_study.results.folders import find_file, note_outside
from loadgen_study.results.run import Run
from loadgen_study.runs.gate import METRICS, gate, measure_and_gate
from loadgen_study.runs.live import LiveRun
from loadgen_study.runs.others.formats import WRITERS, export
from loadgen_study.submission.preflight import preflight
from loadgen_study.submission.tree import build_submission
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.redact import scrub

DEFAULT = "params/cpu.yaml"
INTERRUPTED = 130
Add = Callable[..., argparse.Action]


def _given(params: str, p: list[list[str]]) -> dict[str, object]:
    return read_yaml(find_within(params)) | {name: value_of(name, text) for name, text in p}


def _report(params: str, p: list[list[str]]) -> None:
    # papermill takes seconds to import
    from loadgen_study.report.make import make_report, summary_lines

    command = ["vllm-loadgen", "report", "--params", params]
    command += [part for change in p for part in ("-p", *change)]
    os.environ["VLLM_LOADGEN_COMMAND"] = shlex.join(command)  # recorded by the notebooks' kernels
    given = _given(params, p)
    report = make_report(RunParams.from_dict(given), given)
    print(*summary_lines(report.parent), f"Report: {report}", sep="\n")


def _render(run: str) -> None:
    from loadgen_study.report.make import render_report

    if Path(run).suffix == SUFFIX:
        cure = "unpack it, or give it to analysis.ipynb as run"
        raise ParameterError("run", run, "is a zip, and the report would go with it", cure)
    print(f"Report: {render_report(Run.open(run).folder)}")


def _bundle(run: str, out: Path | None, as_it_is: bool) -> None:
    file, taken_out = share.bundle(Run.open(run), out, as_it_is)
    for leak in taken_out:
        print(f"Taken out of {leak.file.name}: {leak.kind}: {leak.excerpt}")
    print(f"The run in one file, {file.stat().st_size / 2**20:.1f} MiB: {file}")


def _export(run: str, form: str, out: Path | None) -> None:
    print(f"The run as {form}: {export(Run.open(run), form, out)}")


def _submission(runs: list[Path], out: Path, division: str, submitter: str, system: str) -> None:
    for refusal in preflight(runs, division):
        print(f"Would be refused: {refusal}")
    print(f"The submission: {build_submission(runs, out, division, submitter, system)}")


def _baseline(params: str, p: list[list[str]]) -> None:
    score = LiveRun.start(RunParams.from_dict(_given(params, p))).make_baseline()
    print(json.dumps(score, indent=2))


def _doctor(params: str, p: list[list[str]]) -> int:
    findings = examine(RunParams.from_dict(_given(params, p)))
    print(*findings, sep="\n")
    return int(any(finding.status == "no" for finding in findings))


def _check(path: Path, clean: bool) -> int:
    """Print what is found, with ``clean`` take it out; 1 if something is left."""
    path = Path(find_file(str(path)))
    found = left = share.check(path)
    print(*found, sep="\n", end="\n" if found else "")
    if clean and found:
        left = share.clean(path)
        print(f"Cleaned: of {len(found)} findings {len(left)} are left.", *left, sep="\n")
    if any(leak.evidence for leak in found):
        print(f"{share.EVIDENCE}* are LoadGen's own logs, MLPerf's evidence: they are not changed.")
    if not found:
        print("No secret, no absolute path, no name of user or host was found.")
    elif not clean:
        print("With --clean they are taken out, in place.")
    return int(bool(left))


def _gate(base: str, new: str, worse: float, metric: list[str], run: bool, budget_s: float) -> int:
    if run:
        params = [RunParams.from_yaml(find_within(path)) for path in (base, new)]
        found = measure_and_gate(params, worse, metric, budget_s)
    else:
        found = gate(Run.open(base), Run.open(new), worse, metric)
    print(*found.lines(), sep="\n")
    return found.status


def _history(folder: str, out: Path) -> None:
    from loadgen_study.report.history import make_history

    print(f"The history: {make_history(folder, out)}")


def _size(run: str, qps: float, users: float, think: float, **changes: float) -> None:
    from loadgen_study.report.sections.sizing import lines

    print(*lines(Run.open(run), Demand(qps, users, think), **changes), sep="\n")


def _share(text: str) -> float:
    """A share as "3%" or "0.03"."""
    number = text.strip().removesuffix("%").rstrip()
    share = float(number) / (100 if text.strip().endswith("%") else 1)
    if not 0 < share < 1:
        raise ValueError
    return share


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vllm-loadgen", description="MLPerf Inference for LLMs: vLLM under LoadGen."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, text: str, command: Callable[..., int | None]) -> Add:
        added = commands.add_parser(name, help=text)
        added.set_defaults(command=command)
        return added.add_argument

    for argument in (
        add("report", "run the notebooks and render their report", _report),
        add("baseline", "score a model and data in full precision", _baseline),
        add("doctor", "say whether this machine can do a job", _doctor),
    ):
        argument("--params", default=DEFAULT, help=f"a file of parameters ({DEFAULT})")
        pair = ("NAME", "VALUE")
        argument("-p", nargs=2, action="append", default=[], metavar=pair, help="one parameter")
    argument = add("render", "render the report of an existing run again", _render)
    argument("run", help="the run's folder")
    argument = add("bundle", "make one zip file of a run, to be sent", _bundle)
    argument("run", help="the run's folder")
    argument("--out", type=Path, help="the file (default: next to the folder)")
    argument("--as-it-is", action="store_true", help="with what vllm-loadgen check would find")
    argument = add(
        "gate", "say whether a run is worse: exit status 0 no, 10 yes, 11 unknown", _gate
    )
    argument("base", help="the folder of the run to compare with")
    argument("new", help="the run's folder")
    argument("--worse", type=_share, default=0.03, metavar="3%", help="that it may be worse (3%%)")
    argument("--metric", action="append", default=[], choices=METRICS, help="this one alone")
    argument("--run", action="store_true", help="both are files of parameters: measure in turn")
    argument("--budget-s", type=float, default=3600, help="time for that, s (3600)")
    argument = add("size", "say how many replicas a demand takes, and what they cost", _size)
    argument("run", help="the folder of a run with a search or a sweep")
    for flag, name, text in (
        ("--qps", "qps", "queries/s"),
        ("--users", "users", "users at once, who wait and think"),
        ("--think", "think", "from an answer to the user's next query, s"),
        ("--ttft", "ttft_limit_ms", "limit on TTFT, ms (default: the run's)"),
        ("--tpot", "tpot_limit_ms", "limit on TPOT, ms (default: the run's)"),
        ("--price", "price_per_hour", "of a device (default: by the run's price_per_hour)"),
        ("--watts", "watts", "of a device (default: as measured)"),
    ):
        argument(flag, dest=name, type=float, default=0.0, metavar="N", help=text)
    argument = add("history", "show the runs of a folder over time, on one page", _history)
    argument("folder", help="the folder of runs, or of zips of runs")
    argument("-o", "--out", type=Path, default=Path("history.html"), help="the page")
    argument = add("export", "write a run in another tool's format", _export)
    argument("run", help="the run's folder")
    argument("--as", dest="form", required=True, choices=sorted(WRITERS), help="the format")
    argument("--out", type=Path, help="the file (default: next to the folder)")
    argument = add("submission", "build MLCommons' tree from runs", _submission)
    argument("runs", nargs="+", type=Path, help="folders of runs, one a scenario")
    argument("--division", default="open", help="closed or open")
    argument("--submitter", required=True)
    argument("--system", required=True, help="name of the system")
    argument("--out", type=Path, default=Path("submission"), help="a new folder")
    argument = add("check", "say what a run or a file of it gives away", _check)
    argument("path", type=Path, help="a run's folder, a notebook, a report or another file")
    argument("--clean", action="store_true", help="take it out, in place")
    add("parameters", "list all parameters (Markdown)", lambda: print(as_markdown()))
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Carry out one command; returns the exit status."""
    options = vars(_parser().parse_args(arguments))
    try:
        return options.pop("command")(**options) or 0
    except BenchmarkError as error:
        line = f"{type(error).__name__}: {error} {note_outside()}".rstrip()
        print(scrub(line), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; what was measured is kept under outputs.", file=sys.stderr)
        return INTERRUPTED

"""The console command: ``vllm-loadgen report``, ``submission``, ``check`` and their like."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from loadgen_study import params as parameters
from loadgen_study.params import RunParams, read_yaml, value_of
from loadgen_study.results.bundles import SUFFIX, find_within
from loadgen_study.results.folders import find_file, note_outside
from loadgen_study.results.run import Run
from vllm_loadgen.errors import BenchmarkError, ParameterError
from vllm_loadgen.redact import scrub

DEFAULT = "params/cpu.yaml"
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Carry out one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except BenchmarkError as error:
        line = f"{type(error).__name__}: {error} {note_outside()}".rstrip()
        print(scrub(line), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; what was measured is kept under outputs.", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vllm-loadgen", description="MLPerf Inference for LLMs: vLLM under LoadGen."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    report = commands.add_parser("report", help="run the notebooks and render their report")
    _add_parameters(report)
    report.set_defaults(command=_report)

    render = commands.add_parser("render", help="make the report of a run anew")
    render.add_argument("run", help="the run's folder")
    render.set_defaults(command=_render)

    bundle = commands.add_parser("bundle", help="make one zip file of a run, to be sent")
    bundle.add_argument("run", help="the run's folder")
    bundle.add_argument("--out", type=Path, help="the file (beside the folder)")
    bundle.add_argument(
        "--as-it-is", action="store_true", help="with what vllm-loadgen check would find"
    )
    bundle.set_defaults(command=_bundle)

    submission = commands.add_parser("submission", help="build MLCommons' tree from runs")
    submission.add_argument("runs", nargs="+", type=Path, help="folders of runs, one a scenario")
    submission.add_argument("--division", default="open", help="closed or open")
    submission.add_argument("--submitter", required=True)
    submission.add_argument("--system", required=True, help="name of the system")
    submission.add_argument("--out", type=Path, default=Path("submission"), help="a new folder")
    submission.set_defaults(command=_submission)

    baseline = commands.add_parser("baseline", help="score a model and data in full precision")
    _add_parameters(baseline)
    baseline.set_defaults(command=_baseline)

    doctor = commands.add_parser("doctor", help="say whether this machine can do a job")
    _add_parameters(doctor)
    doctor.set_defaults(command=_doctor)

    check = commands.add_parser("check", help="say what a run or a file of it gives away")
    check.add_argument(
        "path", type=Path, help="a run's folder, a notebook, a report or another file"
    )
    check.add_argument("--clean", action="store_true", help="take it out, in place")
    check.set_defaults(command=_check)

    listed = commands.add_parser("parameters", help="list all parameters (Markdown)")
    listed.set_defaults(command=lambda _: print(parameters.as_markdown()))
    return parser


def _add_parameters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", default=DEFAULT, help=f"a file of parameters ({DEFAULT})")
    parser.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="one parameter"
    )


def _given(options: argparse.Namespace) -> dict[str, object]:
    """The parameters of a command line, as given."""
    given = read_yaml(find_within(options.params))
    return given | {name: value_of(name, text) for name, text in options.p}


def _report(options: argparse.Namespace) -> None:
    from loadgen_study.report.make import make_report  # papermill takes a second to import

    changes = [part for name, value in options.p for part in ("-p", name, value)]
    called = ["vllm-loadgen", "report", "--params", options.params, *changes]
    # The notebooks' kernels note it as what was called.
    os.environ["VLLM_LOADGEN_COMMAND"] = shlex.join(called)
    given = _given(options)
    print(f"The report: {make_report(RunParams.from_dict(given), given)}")


def _doctor(options: argparse.Namespace) -> int:
    from loadgen_study.doctor import able, examine

    findings = examine(RunParams.from_dict(_given(options)))
    print(*findings, sep="\n")
    return 0 if able(findings) else 1


def _render(options: argparse.Namespace) -> None:
    from loadgen_study.report.make import render_report

    if Path(options.run).suffix == SUFFIX:
        cure = "unpack it, or give it to analysis.ipynb as run"
        raise ParameterError("run", options.run, "is a zip, and the report would go with it", cure)
    print(f"The report: {render_report(Run.open(options.run).folder)}")


def _bundle(options: argparse.Namespace) -> None:
    from loadgen_study.runs.bundle import bundle

    file, taken_out = bundle(Run.open(options.run), options.out, options.as_it_is)
    for leak in taken_out:
        print(f"Taken out of {leak.file.name}: {leak.kind}: {leak.excerpt}")
    print(f"The run in one file, {file.stat().st_size / 2**20:.1f} MiB: {file}")


def _submission(options: argparse.Namespace) -> None:
    from loadgen_study.submission.preflight import preflight
    from loadgen_study.submission.tree import build_submission

    for refusal in preflight(options.runs, options.division):
        print(f"The checker will say: {refusal}")
    tree = build_submission(
        options.runs, options.out, options.division, options.submitter, options.system
    )
    print(f"The submission: {tree}")


def _baseline(options: argparse.Namespace) -> None:
    from loadgen_study.runs.live import LiveRun

    score = LiveRun.start(RunParams.from_dict(_given(options))).make_baseline()
    print(score.model_dump_json(indent=2))


def _check(options: argparse.Namespace) -> int:
    """Says what is found, cleans it if asked to; 1 if something is left."""
    from loadgen_study import share

    path = Path(find_file(str(options.path)))
    found = share.check(path)
    left = share.clean(path) if options.clean and found else found
    print(*found, sep="\n", end="\n" if found else "")
    if options.clean and found:
        print(f"Cleaned: of {len(found)} findings {len(left)} are left.")
        print(*left, sep="\n", end="\n" if left else "")
    if any(leak.evidence for leak in found):
        print(f"{share.EVIDENCE}* are LoadGen's own logs, MLPerf's evidence: they are not changed.")
    if not found:
        print("No secret, no absolute path, no name of user or host was found.")
    elif not options.clean:
        print("With --clean they are taken out, in place.")
    return 1 if left else 0

"""The main job: the four notebooks, headless by papermill, and the report as one HTML file."""

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from nbconvert import HTMLExporter
from traitlets.config import Config

from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.inputs import machine
from vllm_loadgen.params import RunParams, read_yaml
from vllm_loadgen.results import folders

# A kernel warns that its connection is not encrypted; the connection stays on this machine.
QUIET_KERNEL = ["--IPKernelApp.log_level=ERROR"]
NOTEBOOKS = ("setup", "accuracy", "perf", "analysis")
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main>{body}</main></body></html>
"""


def make_report(
    params: RunParams, given: dict[str, Any], notebooks: Sequence[str] = NOTEBOOKS
) -> Path:
    """Execute the notebooks into one run folder and render the report.

    Args:
        params: validated.
        given: the values that go to the notebooks, as the user gave them.
        notebooks: which of them, in order; the last is the report.

    Returns:
        The report's path.

    Raises:
        BenchmarkError: if a notebook stops; it is kept, with its error, in the run's folder.
    """
    folder = folders.make_folder(params, "performance")
    given = {**given, "run_name": folder.name}
    executed = folder / "notebooks"
    executed.mkdir(exist_ok=True)
    for name in notebooks:
        values = {"run": _shown(folder)} if name == "analysis" else given
        execute(folders.project_root() / "notebooks" / f"{name}.ipynb", executed, values)
    report = folder / "report.html"
    render(executed / "analysis.ipynb", report)
    return report


def execute(notebook: Path, folder: Path, values: dict[str, Any]) -> None:
    """One notebook by papermill, in its own directory, with the kernel of this environment."""
    target = folder / notebook.name
    # Every parameter goes to every notebook, which checks them all itself; papermill would warn
    # of those that its parameters cell does not show.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    begin = time.monotonic()
    print(f"{notebook.stem}.ipynb ...", flush=True)
    try:
        papermill.execute_notebook(
            str(notebook), str(target), parameters=values, cwd=str(notebook.parent),
            kernel_name="python3", progress_bar=False, extra_arguments=QUIET_KERNEL,
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        raise BenchmarkError(machine.scrub(f"{error.ename}: {error.evalue}")) from None
    finally:
        if target.is_file():
            target.write_text(_shown(machine.scrub(target.read_text())))
    print(f"{notebook.stem}.ipynb done in {time.monotonic() - begin:.0f} s", flush=True)


def _shown(text: object) -> str:
    """``text`` with paths relative to the project: a report is read on other machines."""
    return str(text).replace(f"{folders.project_root()}/", "")


def render(notebook: Path, target: Path) -> None:
    """An executed notebook as one HTML file that asks no other machine for anything."""
    content = nbformat.read(notebook, as_version=4)
    # The basic template is the bare body: the page around it is ours and links to nothing.
    config = Config({"HTMLExporter": {"exclude_input": True, "exclude_output_prompt": True}})
    exporter = HTMLExporter(template_name="basic", embed_images=True, config=config)
    body, _ = exporter.from_notebook_node(content)
    style = (resources.files("vllm_loadgen") / "embedded" / "report.css").read_text()
    page = PAGE.format(title="MLPerf Inference report", style=style, body=machine.scrub(body))
    target.write_text(page)


def main(arguments: list[str] | None = None) -> int:
    """``python -m vllm_loadgen.report.make --params FILE [-p NAME VALUE ...]``."""
    parser = argparse.ArgumentParser(description=make_report.__doc__.splitlines()[0])
    parser.add_argument("--params", default="params/cpu.yaml", help="a file of parameters")
    parser.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="one parameter"
    )
    options = parser.parse_args(arguments)
    changes = "".join(f" -p {name} {value}" for name, value in options.p)
    command = f"python -m vllm_loadgen.report.make --params {options.params}{changes}"
    os.environ["VLLM_LOADGEN_COMMAND"] = command
    try:
        given = read_yaml(folders.find_file(options.params))
        given |= {name: yaml.safe_load(value) for name, value in options.p}
        report = make_report(RunParams.from_dict(given), given)
    except BenchmarkError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; what was measured is kept under outputs.", file=sys.stderr)
        return 130
    print(f"The report: {report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

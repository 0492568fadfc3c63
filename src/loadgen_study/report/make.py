"""The main job: the four notebooks, headless by papermill, and the report as one HTML file."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import nbformat
import papermill
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from traitlets.config import Config

from loadgen_study.params import RunParams
from loadgen_study.report import embed, first_screen
from loadgen_study.report.console import Console
from loadgen_study.report.page import page_of
from loadgen_study.report.report import Report
from loadgen_study.results.folders import checkout, existing, find_file, shown
from loadgen_study.results.run import Run
from loadgen_study.runs.compare import MIME
from loadgen_study.runs.folders import make_folder
from loadgen_study.runs.handover import Handover
from loadgen_study.runs.study import named_model
from loadgen_study.share import portable_notebook
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.files import write_text
from vllm_loadgen.redact import scrub

# A kernel warns that its connection is not encrypted, which stays on this machine; and it logs the
# interrupt by which jupyter_client ends it as an error.
QUIET_KERNEL = ["--IPKernelApp.log_level=CRITICAL"]
MEASURING, ANALYSIS = ("setup", "accuracy", "perf"), "analysis"


def make_report(
    params: RunParams, given: Mapping[str, object], notebooks: Sequence[str] = MEASURING
) -> Path:
    """Execute the notebooks into one run folder and render the report.

    Args:
        params: validated.
        given: the values that go to the notebooks, as the user gave them.
        notebooks: those that measure, in order; analysis.ipynb, the report, follows.

    Returns:
        The report's path.

    Raises:
        ParameterError: if there is no such model or dataset.
        BenchmarkError: if a notebook stops; it is kept, with its error, in the run's folder, and
            so is a report of the tests that were begun. An interrupt leaves the same.
    """
    source = notebooks_folder()
    named_model(params)  # a wrong name is refused before a kernel starts, and leaves no folder
    folder = make_folder(params)
    given = {**given, "run_name": folder.name}
    console = Console([*notebooks, ANALYSIS])
    with Handover() as engine:
        try:
            for name in notebooks:
                if module := params.engine_traits.imports:
                    engine.prepare(folder / "engine.log", module)
                execute(source / f"{name}.ipynb", folder / "notebooks", given, console)
        except (BenchmarkError, KeyboardInterrupt):
            if any(folder.glob("*/result.json")):
                engine.dismiss()
                print("\nStopped: rendering what was measured (Ctrl-C leaves it out)", flush=True)
                with suppress(BenchmarkError):
                    print(f"Report: {render_report(folder, console)}")
            raise
        engine.dismiss()
        return render_report(folder, console)


def render_report(folder: Path, console: Console | None = None) -> Path:
    """Render an existing run's report again, by analysis.ipynb alone; returns its path.

    Raises:
        BenchmarkError: if the notebook stops.
    """
    source = notebooks_folder()
    executed = folder / "notebooks"
    console = console or Console([ANALYSIS])
    execute(source / f"{ANALYSIS}.ipynb", executed, {"run": shown(folder)}, console)
    report = folder / "report.html"
    render(executed / f"{ANALYSIS}.ipynb", report)
    return report


def summary_lines(folder: Path) -> list[str]:
    """What a console shows of a run: verdicts, latencies, throughput and quality."""
    report = Report(Run.open(folder))
    return first_screen.lines(report.run, report.rules, report.findings)


def notebooks_folder() -> Path:
    """The checkout's notebooks.

    Raises:
        BenchmarkError: outside of a checkout.
    """
    if (root := checkout()) is None:
        raise BenchmarkError("The checkout's notebooks are needed. Call this from within it.")
    return root / "notebooks"


def execute(notebook: Path, folder: Path, values: Mapping[str, object], console: Console) -> None:
    """Execute one notebook by papermill, in its own directory; the result goes to ``folder``."""
    folder.mkdir(exist_ok=True)
    target = folder / notebook.name
    # Every parameter goes to every notebook, which checks them all itself; papermill would warn
    # of those that its parameters cell does not show.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        with console.step(notebook.stem):
            papermill.execute_notebook(
                str(notebook), str(target), parameters=dict(values), cwd=str(notebook.parent),
                kernel_name="python3", progress_bar=False, extra_arguments=QUIET_KERNEL,
            )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        raise BenchmarkError(scrub(f"{error.ename}: {error.evalue}")) from None
    except KeyboardInterrupt:
        # The cell's task ends with its kernel, when nobody waits for it: asyncio would log that.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        raise
    finally:
        if target.is_file():
            known = [folder.parent, *_paths(values)]
            write_text(target, portable_notebook(target.read_text(encoding="utf-8"), known))


def _paths(values: Mapping[str, object]) -> Iterator[Path]:
    """The files and folders among parameters, as a message or a traceback may name them."""
    for value in values.values():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str) and (path := existing(find_file(one))):
                yield from (path.absolute(), path.resolve())


def render(notebook: Path, target: Path) -> None:
    """An executed notebook as one HTML file that asks no other machine for anything."""
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "code":  # what a comparison reads of it is nothing to look at
            cell.outputs = [each for each in cell.outputs if MIME not in each.get("data", {})]
    write_text(target, as_page(content, embed.downloads(target.parent, notebook)))


def as_page(content: NotebookNode, more: str = "") -> str:
    """What an executed notebook shows, as one HTML page; its charts are moved out of it.

    Args:
        more: whole elements behind the notebook's.
    """
    tables = embed.take_charts(content)
    # The basic template is the bare body: the page around it is ours (page.py).
    config = Config({"HTMLExporter": {"exclude_input": True, "exclude_output_prompt": True}})
    exporter = HTMLExporter(template_name="basic", embed_images=True, config=config)
    body, _ = exporter.from_notebook_node(content)
    return page_of(scrub(body) + more, embed.scripts(tables))

"""The interactive parts of the report's one file: charts, their tables, and downloads."""

import base64
import functools
import gzip
import html
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import nbformat
import vl_convert
from nbformat import NotebookNode

from loadgen_study.report.figures.base import VEGALITE
from loadgen_study.report.page import embedded
from loadgen_study.results.run import Run
from vllm_loadgen.redact import scrub

# The largest report: 26,736 queries with all that can be had from it.
MOST_BYTES = 3_900_000
LIBRARY = "window.vegaEmbed = vegaEmbed;"  # all that the page asks of it
# Not escaped in a download, so that a search for secrets and paths finds them there.
PLAIN = "/:;,.?@&=+$-_!~*'()[]{}| "


def take_charts(notebook: NotebookNode) -> dict[str, str]:
    """Each interactive figure of a notebook, moved out of the picture's output to behind it.

    Returns:
        their tables as CSV, each once, by the name that the charts now know it by.
    """
    tables: dict[str, str] = {}
    for cell in notebook.cells:
        cell["outputs"] = [
            part for output in cell.get("outputs", []) for part in _parted(output, tables)
        ]
    return {name: text for text, name in tables.items()}


def _parted(output: NotebookNode, tables: dict[str, str]) -> list[NotebookNode]:
    chart = output.get("data", {}).pop(VEGALITE, None)
    if chart is None:
        return [output]
    for name, rows in chart["datasets"].items():
        if isinstance(rows, str):
            chart["datasets"][name] = tables.setdefault(rows, f"{name}-{len(tables)}")
    script = f'<script type="application/json" class="chart">{_json(chart)}</script>'
    return [output, nbformat.v4.new_output("display_data", {"text/html": script})]


def _json(value: object) -> str:
    """JSON in which no HTML tag can end the script around it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def scripts(tables: Mapping[str, str]) -> str:
    """All that the page's scripts need, with the tables of ``take_charts``; ends its body."""
    code, style = embedded("interactive.js"), embedded("interactive.css")
    data = scrub(_json(tables))
    return (
        f"<style>{style}</style>"
        f'<script type="application/json" id="chart-data">{data}</script>'
        f'<script type="text/plain" id="vega">{_library() if tables else ""}</script>'
        f"<script>{code}</script>"
    )


@functools.cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as vl-convert brings them, packed: a third of the size."""
    code = vl_convert.javascript_bundle(LIBRARY)
    packed = gzip.compress(f"(() => {{{code}\n}})();".encode(), mtime=0)
    return _packed(packed)


def _packed(content: bytes) -> str:
    return f"data:application/gzip;base64,{base64.b64encode(content).decode()}"


# What can be had from the report --------------------------------------------------------------
def downloads(folder: Path, notebook: Path, room: int = MOST_BYTES) -> str:
    """Links to the run's parameters, records and notebook, which lie in the page itself.

    Args:
        room: bytes that they may take together; what does not fit is named and left out.
    """
    links, left_out = [], []
    for name, what, address in _offers(folder, notebook):
        if len(address) > room:
            left_out.append(name)
            continue
        room -= len(address)
        links.append(f'<li><a download="{name}" href="{address}">{name}</a>: {what}</li>')
    if not links:
        return ""
    said = f"<p>Too large for this file: {', '.join(left_out)}.</p>" if left_out else ""
    return f'<h2 id="downloads">Downloads</h2><ul>{"".join(links)}</ul>{said}'


def _offers(folder: Path, notebook: Path) -> Iterator[tuple[str, str, str]]:
    """Name, description and content of each download."""
    if (folder / "params.yaml").is_file():
        params = scrub((folder / "params.yaml").read_text(encoding="utf-8"))
        yield "params.yaml", "the run's parameters", _text("application/yaml", params)
    if (folder / "performance" / "records.parquet").is_file():
        test = Run.open(folder).performance
        rows = test.records.to_csv(index=False) if test else ""
        what = "a row a query of the performance test, times in ns since its start"
        yield "records.csv.gz", what, _packed(gzip.compress(rows.encode(), mtime=0))
    if notebook.is_file():
        what = "the notebook that this report is made of, without the pictures, which are above"
        content = _text("application/x-ipynb+json", _without_pictures(notebook))
        yield notebook.name, what, content


def _text(kind: str, content: str) -> str:
    return f"data:{kind};charset=utf-8,{html.escape(quote(content, safe=PLAIN))}"


def _without_pictures(notebook: Path) -> str:
    content = json.loads(scrub(notebook.read_text(encoding="utf-8")))
    for cell in content["cells"]:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)

"""What a model, an article or a sent run says is shown and not obeyed, in every table and page."""

import base64
from html.parser import HTMLParser
from importlib import resources

import nbformat
import pandas as pd
import pytest
from helpers import RESULT, seed_records, write_facts, write_test
from IPython.core.formatters import DisplayFormatter

from loadgen_study import Run, RunParams
from loadgen_study.accuracy.scores import sample_table
from loadgen_study.benchmarks.llama3_1_8b import SUMMARIES
from loadgen_study.facts.scores import Accuracy, AccuracyVerdict, Fidelity, Score
from loadgen_study.prose import plain
from loadgen_study.report import display, make
from loadgen_study.report.parameters import parameters_table
from loadgen_study.report.report import Report
from loadgen_study.report.sections import setup, tests
from loadgen_study.runs import compare

pytestmark = pytest.mark.slow

ODD = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>[link](javascript:alert(1))\n\n# Head\n"
    "<u>line</u> **stars** ~~gone~~ $x^2$ `code` \x1b[31mred &lt;i&gt;"
)
# What the page has of its own: the figures, and the marks of Markdown.
OWN_TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "nav", "section", "div", "p", "span",
    "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "h2", "h3", "b", "strong",
    "code", "pre", "img", "a", "blockquote", "details", "summary", "script", "dl", "dt",
    "dd", "small", "i",
}  # fmt: skip
EMBEDDED = resources.files("loadgen_study") / "embedded"
OWN_SCRIPTS = "".join((EMBEDDED / name).read_text() for name in ("interactive.js", "report.js"))


class Page(HTMLParser):
    """The tags and the text of a page, as a browser takes them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.scripts = [], "", []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data
        if self.cdata_elem == "script":
            self.scripts.append((self.tags[-1][1].get("type"), data))


def page_of(parts, tmp_path):
    """A report's page of these parts, by the project's own renderer."""
    formatter = DisplayFormatter()
    outputs = []
    for part in parts:
        data, _ = formatter.format(display._shown(part))
        if isinstance(png := data.get("image/png"), bytes):
            data["image/png"] = base64.b64encode(png).decode()
        outputs.append(nbformat.v4.new_output("display_data", data))
    cell = nbformat.v4.new_code_cell("x", outputs=outputs)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "a.ipynb")
    make.render(tmp_path / "a.ipynb", tmp_path / "a.html")
    return Page((tmp_path / "a.html").read_text())


def check(page):
    assert {tag for tag, _ in page.tags} <= OWN_TAGS
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("href", "src"):
            assert not (attributes.get(name) or "").lower().startswith("javascript"), attributes
            assert attributes.get(name) != "x"
    assert "\x1b" not in page.text
    # What runs is ours; the rest is data, in which nothing can begin or end a script.
    assert "".join(code for kind, code in page.scripts if kind is None) == OWN_SCRIPTS
    assert not [data for kind, data in page.scripts if kind and "<" in data]


@pytest.fixture
def run(tmp_path):
    """A run in which every text of a file is odd."""
    params = RunParams(dataset="a.jsonl", engine_options={"note": ODD}, kv_cache_dtype=ODD)
    folder = write_facts(
        tmp_path / "run", params,
        model={"name": ODD, "dtype": ODD, "sha256": {f"{ODD}.safetensors": ODD}},
        dataset={"name": ODD, "source": ODD, "checksum": ODD, "instruction": ODD},
        environment={"command": ODD, "os": ODD, "packages": {ODD: ODD}},
    )  # fmt: skip
    settings = {"effective_settings": RESULT["effective_settings"], "loadgen_results": {}}
    odd = {"verdict_reasons": [f"{ODD}: {ODD}"], "num_errors": 1, "error_lines": [ODD]}
    write_test(folder / "performance", {**RESULT, **settings, **odd}, seed_records())
    write_test(folder / "accuracy", {**RESULT, "mode": "accuracy"}, seed_records())
    score = Score(rouge1=1, rouge2=1, rougeL=1, rougeLsum=1, gen_len=1, gen_num=1)
    verdict = AccuracyVerdict(status="PASS", against=ODD)
    fidelity = Fidelity(answers=1, identical=1, problem=ODD)
    Accuracy(score=score, verdict=verdict, fidelity=fidelity).write(
        folder / "accuracy" / "accuracy.json"
    )
    return Run.open(folder)


def test_a_report_obeys_nothing_that_stands_in_a_runs_files(run, tmp_path):
    digest = compare.digest(run).model_copy(update={"name": ODD, "verdict": ODD})
    other = digest.model_copy(update={"name": "b", "params": digest.params | {"dataset": ODD}})
    report = Report(run, [digest, other])
    names = [
        "headline", "summary", "what_the_data_say", "further_questions", "accuracy", "performance",
        "tests", "throughput", "latency", "limits", "extra_tests", "comparison", "published",
        "conformance", "configuration", "provenance",
    ]  # fmt: skip
    page = page_of([part for name in names for part in getattr(report, name)().parts], tmp_path)
    check(page)
    for shown in ("<script>alert(1)</script>", "onerror=alert(1)", "[link](javascript:alert(1))"):
        assert page.text.count(shown) > 10


def test_the_examples_of_answers_are_text(tmp_path):
    scores = {
        "scorable": [True],
        "rouge1": [1.0],
        "rouge2": [1.0],
        "rougeL": [1.0],
        "rougeLsum": [1.0],
    }
    texts = {"sample_index": [0], "summary": [ODD], "reference": [ODD]}
    page = page_of([sample_table(pd.DataFrame(texts | scores), [ODD], SUMMARIES)], tmp_path)
    check(page)
    assert page.text.count("<script>alert(1)</script>") == 3


def test_the_tables_of_the_measuring_notebooks_are_text(run, tmp_path):
    parts = [
        parameters_table(run.params), setup.environment_table(run.environment),
        setup.model_table(run.model), setup.dataset_table(run),
        tests.tests_table(run), tests.verdict_text(run.performance), run.performance,
        pd.DataFrame({ODD: [ODD]}, index=pd.Index([ODD], name=f"{ODD}s")),
    ]  # fmt: skip
    page = page_of(parts, tmp_path)
    check(page)
    assert page.text.count("<script>alert(1)</script>") > 10


def test_markdown_shows_a_name_as_it_is(tmp_path):
    name = "a_b *c* ~~d~~ $e$ [f](g) `h` <i> & \\n 1|2 __init__"
    page = page_of([f"**{plain(name)}** is it"], tmp_path)
    assert f"{name} is it" in page.text

"""The page around a report, of small bodies."""

import pytest
from bs4 import BeautifulSoup
from helpers import ROOT

from loadgen_study.report.display import spoken
from loadgen_study.report.page import FOLDED_ROWS, embedded, page_of

HEADINGS = """
<h1>Report</h1><div class="output_markdown"><h2>It &amp; <i>that</i></h2><p>said</p></div>
<div class="output_markdown"><h3>How fast?</h3><p>so</p><h3>How good?</h3><p>good</p></div>
<h2>Performance</h2><p>figures</p><h3>Latency</h3><p>ms</p><h2>Performance</h2><h3>Latency</h3>
"""


def table(rows):
    body = "".join(f"<tr><td>name {i}</td><td>{i}</td></tr>" for i in range(rows))
    return (
        f"<table><thead><tr><th>What</th><th>value</th></tr></thead><tbody>{body}</tbody></table>"
    )


@pytest.fixture
def page():
    return BeautifulSoup(page_of(HEADINGS), "html.parser")


def test_each_heading_begins_a_section_that_the_contents_lead_to(page):
    links = [(a.get_text(), a["href"].removeprefix("#")) for a in page.select("nav a")]
    assert links == [
        ("Summary", "summary"), ("Performance", "performance"), ("Latency", "latency"),
        ("Performance", "performance-2"), ("Latency", "latency-2"),
    ]  # fmt: skip
    for _, name in links:
        assert len(page.select(f"#{name}")) == 1
    sections = page.select("main > section")
    assert [s["aria-labelledby"] for s in sections] == ["summary", "performance", "performance-2"]
    assert "figures" in sections[1].get_text()
    assert "figures" not in sections[2].get_text()


def test_the_page_is_called_as_its_first_section(page):
    assert page.title.get_text() == "It & that"


@pytest.mark.parametrize("rows", [FOLDED_ROWS, FOLDED_ROWS + 1])
def test_a_long_table_is_folded_under_its_heading(rows):
    page = BeautifulSoup(page_of(f"<h2>Rules</h2>{table(rows)}"), "html.parser")
    folds = [fold.summary.get_text() for fold in page.find_all("details")]
    assert folds == ([f"Rules: {rows} rows"] if rows > FOLDED_ROWS else [])
    (box,) = page.select(".table")
    assert (box["role"], box["tabindex"], box["aria-label"]) == ("region", "0", "Table: Rules")
    assert [cell["scope"] for cell in page.select("th")] == ["col"] * 2 + ["row"] * rows


def test_a_heading_without_output_is_left_out():
    def cell(kind, inner):
        return f'<div class="cell"><div class="{kind}">{inner}</div></div>'

    body = "".join(
        [
            cell("text_cell_render", "<h2>Summary</h2>"), cell("output", "<p>good</p>"),
            cell("text_cell_render", "<h2>Extra tests</h2><p>Look.</p>"), cell("input", ""),
            cell("text_cell_render", "<h2>Performance</h2>"), cell("input", ""),
            cell("text_cell_render", "<h3>Latency</h3>"), cell("output", "<p>ms</p>"),
            cell("text_cell_render", "<h3>Limits</h3>"), cell("input", ""),
        ]
    )  # fmt: skip
    page = BeautifulSoup(page_of(body), "html.parser")
    heads = [heading.contents[0] for heading in page.find_all(["h2", "h3"])]
    assert heads == ["Summary", "Performance", "Latency"]
    assert "Look." not in page.get_text()


def test_a_page_of_nothing_is_a_page():
    assert "<main></main>" in page_of("")
    assert "<main></main><script>{1}</script>" in page_of("", "<script>{1}</script>")


def test_the_page_forbids_a_browser_to_ask_a_host():
    policy = page_of("").partition("Content-Security-Policy")[2].partition(">")[0]
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_a_caption_is_read_out_without_its_marks():
    assert spoken(r"**p90** of a\_b is `5` &lt; 6") == "p90 of a_b is 5 < 6"


def test_the_readme_explains_the_same_words_as_the_report():
    readme = (ROOT / "README.md").read_text()
    assert readme.partition("<!-- words")[2].partition("-->\n")[2].startswith(embedded("words.md"))

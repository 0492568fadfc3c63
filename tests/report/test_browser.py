"""The notebooks in JupyterLab and the report as a page, in a headless Chromium.

Chromium comes from the system (Debian: ``apt-get install chromium``), its driver from playwright.
"""

import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from helpers import ROOT
from limits import outcome

from loadgen_study import Run
from loadgen_study.report.make import render_report

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium: apt-get install chromium"),
]
TOKEN = "a-token-of-the-test"
# Few articles and short answers of the echo engine: what is looked at is JupyterLab.
SHORTER = {
    "engine": "echo", "num_samples": 4, "max_new_tokens": 8, "min_duration_ms": 1000,
    "min_query_count": 4, "target_qps": 1, "run_name": "seen",
}  # fmt: skip
# Figures that each notebook shows at least.
FIGURES = {"setup": 1, "accuracy": 1, "perf": 1, "analysis": 6}
SHOTS = os.environ.get("SCREENSHOTS")  # a folder to look at what the test saw
FOLDS = "details:not(.chart details)"  # a chart has one for its menu
# All that a person would look at, from JupyterLab's own model of the open notebook.
CELLS = """() => {
    const cells = [...window.jupyterapp.shell.currentWidget.content.model.cells];
    return cells.filter(cell => cell.type === 'code').map(cell => cell.toJSON());
}"""

# The text that stands out least from the nearest colour behind it, by WCAG's contrast ratio.
CONTRASTS = """() => {
    const parts = color => color.match(/[\\d.]+/g).map(Number);
    const light = color => parts(color).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = one => {
        for (; one; one = one.parentElement) {
            const color = getComputedStyle(one).backgroundColor;
            if ((parts(color)[3] ?? 1) === 1) return color;
        }
        return 'rgb(255, 255, 255)';
    };
    const texts = 'h1, h2, h3, p, li, dt, dd, .badge, th, td, code, pre, summary, a';
    const found = [...document.querySelectorAll(texts)]
        .filter(one => one.textContent.trim() && !one.matches('.skip'))
        .map(one => {
            const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            return { ratio, text: one.textContent.trim().slice(0, 60) };
        });
    return found.sort((one, other) => one.ratio - other.ratio)[0];
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        # A container's /dev/shm is small, and its user often root.
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the notebooks with shorter parameters, in a project of its own."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    for name in ("setup", "accuracy", "perf"):
        path = root / "notebooks" / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
        lines = [f"{parameter} = {value!r}" for parameter, value in SHORTER.items()]
        cell.source = "\n".join([cell.source, *lines])
        nbformat.write(notebook, path)
    return root


@pytest.fixture(scope="module")
def lab(project):
    """The address of a JupyterLab of this environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(Path(sys.executable).parent / "jupyter"), "lab", "--no-browser", "--allow-root",
        f"--ServerApp.port={port}", f"--IdentityProvider.token={TOKEN}",
        "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=", str(project / "notebooks"),
    ]  # fmt: skip
    log = (project / "lab.log").open("wb")
    server = subprocess.Popen(command, stdout=log, stderr=log, cwd=project)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=2)
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def tabs(browser):
    """Where JupyterLab's pages open: its scripts are fetched and compiled once for all of them."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    yield context
    context.close()


def run_all(tabs, address, name):
    """Open a notebook, run all its cells, and return them as JupyterLab holds them."""
    page = tabs.new_page()
    page.goto(f"{address}/lab/tree/{name}.ipynb?reset&token={TOKEN}", timeout=60_000)
    page.wait_for_function(
        "name => window.jupyterapp?.shell.currentWidget?.context?.path === name"
        " && window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel"
        "?.connectionStatus === 'connected'",
        arg=f"{name}.ipynb", timeout=90_000,
    )  # fmt: skip
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    deadline = time.monotonic() + 240
    while True:
        cells = page.evaluate(CELLS)
        failed = [o for cell in cells for o in cell["outputs"] if o["output_type"] == "error"]
        if failed or all(cell["execution_count"] for cell in cells):
            break
        assert time.monotonic() < deadline, f"{name}.ipynb did not end"
        time.sleep(1)
    if SHOTS:
        page.wait_for_timeout(2000)
        page.screenshot(path=f"{SHOTS}/lab-{name}.png")
    page.close()
    return cells


def test_every_notebook_runs_in_jupyterlab_and_shows_its_figures(tabs, lab, project):
    for name, figures in FIGURES.items():
        cells = run_all(tabs, lab, name)
        outputs = [output for cell in cells for output in cell["outputs"]]
        assert not [o for o in outputs if o["output_type"] == "error"]
        assert not [o for o in outputs if o.get("name") == "stderr"]
        images = [o for o in outputs if "image/png" in o.get("data", {})]
        assert len(images) >= figures, name
    run = Run.open(project / "outputs" / "seen")
    assert run.summary.tests["performance"].num_errors == 0
    assert run.summary.tests["accuracy"].score["gen_num"] == 4


# What stands in the open notebook: drawings by Vega, tables and scripts; and whether it is trusted.
SEEN = """() => {
    const shown = window.jupyterapp.shell.currentWidget.content;
    const count = selector => shown.node.querySelectorAll(`.jp-OutputArea ${selector}`).length;
    const cells = [...shown.model.cells].filter(cell => cell.type === 'code');
    return { drawings: count('.vega-embed'), tables: count('table'), scripts: count('script'),
             trusted: cells.every(cell => cell.trusted) };
}"""


def test_an_executed_notebook_is_whole_untrusted_and_trusted(tabs, lab, project):
    """As somebody sees it who was sent it and has not run it."""
    shutil.copy(ROOT / "outputs/example/notebooks/analysis.ipynb", project / "notebooks/sent.ipynb")
    notebook = nbformat.read(project / "notebooks/sent.ipynb", as_version=4)
    outputs = [o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])]
    figures = sum("image/png" in data for data in outputs)
    page = tabs.new_page()
    page.goto(f"{lab}/lab/tree/sent.ipynb?reset&token={TOKEN}", timeout=60_000)
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.context?.isReady", timeout=90_000
    )
    for trusted in (False, True):
        if trusted:
            page.evaluate("() => { window.jupyterapp.commands.execute('notebook:trust'); }")
            page.get_by_role("button", name="Trust").click(timeout=20_000)
        # Drawn by JupyterLab's own Vega, which it lets an untrusted notebook use as well.
        page.wait_for_function(f"() => ({SEEN})().drawings >= {figures}", timeout=30_000)
        seen = page.evaluate(SEEN)
        assert (seen["trusted"], seen["scripts"]) == (trusted, 0)
        assert seen["tables"] > 1
        if SHOTS:
            if (news := page.get_by_role("button", name="No", exact=True)).count():
                news.click()
            page.locator(".jp-OutputArea .vega-embed").first.scroll_into_view_if_needed()
            page.wait_for_timeout(1000)
            page.screenshot(path=f"{SHOTS}/lab-{'trusted' if trusted else 'untrusted'}.png")
    page.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of the example run, executed and rendered anew."""
    folder = tmp_path_factory.mktemp("report") / "example"
    shutil.copytree(ROOT / "outputs" / "example", folder)
    (folder / "report.html").unlink()
    return render_report(folder)


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)], ids=["phone", "desktop"])
def test_the_report_at_phone_and_desktop_width(browser, report, width, height):
    page = browser.new_page(viewport={"width": width, "height": height})
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_load_state("networkidle")
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/report-{width}.png", full_page=True)
    # The file itself and what it holds: no request leaves the machine.
    assert all(url.startswith(("file://", "data:")) for url in asked)
    # Tables may scroll within themselves, the page does not.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.locator("img").count() >= FIGURES["analysis"]
    assert report.stat().st_size < 1_500_000
    assert "VALID" in page.locator(".badge").first.inner_text()
    page.close()


@pytest.fixture
def page(browser, report):
    """The report at desktop width; it asks no host and says nothing on its console."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    heard = []
    page.on("request", lambda request: heard.append(request.url))
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(report.as_uri())
    yield page
    assert all(each.startswith(("file://", "data:", "blob:")) for each in heard), heard
    page.close()


def test_the_first_screen_shows_the_facts_and_copies_a_command(page):
    assert page.locator(".badge").count() == 3
    facts = page.locator(".fact")
    assert 6 <= facts.count() <= 8
    assert all(fact.bounding_box()["y"] < 900 for fact in facts.all())
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    command = page.locator(".next pre").first
    command.get_by_role("button", name="Copy").click()
    command.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("vllm-loadgen report --params ")
    assert copied == command.locator("code").inner_text()


def test_the_contents_lead_to_sections_and_mark_the_one_that_is_read(page):
    links = page.locator("nav a")
    targets = links.evaluate_all("all => all.map(a => a.hash)")
    assert len(targets) == len(set(targets)) > 10
    assert page.evaluate("all => all.every(id => document.querySelector(id))", targets)
    for name in ("findings", "performance", "words"):
        page.locator(f"nav a[href='#{name}']").click()
        page.wait_for_selector(f"nav a[href='#{name}'][aria-current='location']")
        assert page.locator("nav a[aria-current]").count() == 1


def test_every_image_says_what_it_shows(page):
    texts = page.eval_on_selector_all("img", "all => all.map(i => i.alt)")
    assert len(texts) >= FIGURES["analysis"]
    assert all(len(text) > 20 and "No description" not in text for text in texts)
    assert len(set(texts)) == len(texts)


def test_the_keyboard_reaches_the_summary_and_every_table(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    boxes = page.locator(".table")
    assert boxes.count() > 5
    assert all(box.get_attribute("tabindex") == "0" for box in boxes.all())
    page.locator(f"{FOLDS} > summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(FOLDS).first.evaluate("one => one.open")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(page, scheme):
    page.emulate_media(color_scheme=scheme)
    least = page.evaluate(CONTRASTS)
    assert least["ratio"] >= 4.5, least
    dark = page.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor")
    assert (dark == "rgb(255, 255, 255)") == (scheme == "light")


def test_in_print_all_is_open_and_the_contents_are_gone(page):
    assert not page.locator(FOLDS).first.evaluate("one => one.open")
    page.emulate_media(media="print", color_scheme="dark")
    opened = f"[...document.querySelectorAll('{FOLDS}')].map(one => one.open)"
    page.wait_for_function(f"{opened}.every(open => open)")
    assert not page.locator("nav").is_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="screen")
    page.wait_for_function(f"!{opened}.some(open => open)")


def drawn(page, place):
    """The chart at this place among the report's, drawn."""
    page.locator("img").nth(place).evaluate("image => image.scrollIntoView()")
    chart = page.locator("div.chart").nth(place)
    chart.locator("svg, canvas").first.wait_for(timeout=60_000)
    return chart


@pytest.mark.parametrize("width", [1400, 1024, 768, 390])
def test_charts_fit_their_column(browser, report, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(report.as_uri())
    for place in range(page.locator("script.chart").count()):
        drawn(page, place)
    page.wait_for_function("document.querySelectorAll('.chart + .tools').length > 6")
    over = "all => all.map(chart => chart.scrollWidth - chart.clientWidth)"
    assert max(page.eval_on_selector_all("div.chart", over)) <= 0
    page.close()


def test_in_print_a_chart_appears_once(page):
    chart = drawn(page, 1)
    page.emulate_media(media="print")
    assert not chart.is_visible()
    assert page.locator("img").nth(1).is_visible()


def test_a_query_answers_a_hover_with_its_stamps(page):
    point = drawn(page, 1).locator(".mark-symbol path").first
    point.hover(force=True)
    said = page.locator("#vg-tooltip-element.visible")
    said.wait_for()
    for name in ("due, s", "first token, s", "answer, tokens", "article"):
        assert name in said.inner_text()


def test_the_sliders_count_what_python_counts(page):
    test = Run.open(ROOT / "outputs" / "example").performance
    page.get_by_role("heading", name="Try other latency limits").scroll_into_view_if_needed()
    sliders = page.locator(".vega-bind input")
    sliders.first.wait_for(timeout=60_000)
    for ttft_ms, tpot_ms in ((2000, 100), (500, 100), (500, 40), (300, 150)):
        for place, value in enumerate((ttft_ms, tpot_ms)):
            sliders.nth(place).fill(str(value))
        found = outcome(test.latencies, ttft_ms, tpot_ms, 0.9)
        # The page rounds half up: 20 of 64 are 31.3 %.
        percent = math.floor(1000 * found.within_both + 0.5) / 10
        within = f"{percent:.1f} % ({found.within_both * 64:.0f} of 64)"
        goodput = f"{test.metrics.samples_per_s * found.within_both:.3f}"
        verdict = "VALID" if found.kept else "INVALID: too many over"
        page.wait_for_function(
            "wanted => wanted.every(text => [...document.querySelectorAll('.chart:has(.vega-bind)"
            " svg text')].some(node => node.textContent === text))",
            arg=[within, goodput, verdict], timeout=20_000,
        )  # fmt: skip


def test_a_table_is_sorted_filtered_and_saved(page):
    # What is folded has no role yet.
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    table = page.locator("main table", has=page.get_by_role("button", name="accelerator")).first
    offline = table.get_by_role("button", name="offline")
    place = table.locator("thead th").all_inner_texts().index("offline")

    def values():
        cells = table.locator(f"tbody tr > :nth-child({place + 1})").all_inner_texts()
        return [float(text.replace(",", "")) for text in cells if text.strip()]

    offline.press("Enter")
    assert values() == sorted(values())
    offline.press("Enter")
    assert values() == sorted(values(), reverse=True)
    assert table.locator("th[aria-sort=descending]").count() == 1
    tools = table.locator("xpath=preceding::div[@class='tools'][1]")
    tools.get_by_role("searchbox").fill("H200")
    shown = table.locator("tbody tr:visible").all_inner_texts()
    assert shown
    assert all("H200" in row for row in shown)
    with page.expect_download() as saved:
        tools.get_by_role("button").click()
    frame = pd.read_csv(saved.value.path())
    assert len(frame) == table.locator("tbody tr").count()
    assert "accelerator" in frame


def test_a_figure_gives_its_data_and_the_report_its_records(page):
    drawn(page, 1)
    with page.expect_download() as saved:
        page.get_by_role("button", name="queries.csv").first.click()
    test = Run.open(ROOT / "outputs" / "example").performance
    frame = pd.read_csv(saved.value.path())
    assert frame["ttft_ms"].tolist() == test.latencies["ttft_ms"].round(1).tolist()
    for name, read in (("records.csv.gz", lambda path: pd.read_csv(path, compression="gzip")),
                       ("analysis.ipynb", lambda path: nbformat.read(path, as_version=4)),
                       ("params.yaml", lambda path: path.read_text())):  # fmt: skip
        with page.expect_download() as saved:
            page.get_by_role("link", name=name).click()
        assert len(read(saved.value.path()))


def test_without_scripts_the_pictures_stay(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("main img:visible").count() == page.locator("main img").count()
    context.close()

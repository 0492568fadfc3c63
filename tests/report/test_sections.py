"""The report of an imitated run, section by section."""

import collections
import hashlib
import json
import re
import shutil

import pandas as pd
import pytest
from helpers import RESULT, ROOT, make_records, seed_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.findings.finding import Finding
from loadgen_study.report.display import Section
from loadgen_study.report.display import table as shown
from loadgen_study.report.report import PICTURE, Report
from loadgen_study.report.sections import accuracy, provenance
from loadgen_study.results import test as results_test

pytestmark = pytest.mark.slow

SECTIONS = (
    "headline", "summary", "what_the_data_say", "further_questions", "accuracy", "performance",
    "tests", "throughput", "latency", "machine", "limits", "extra_tests", "comparison",
    "published", "conformance", "configuration", "provenance", "words",
)  # fmt: skip

EXPLORE = ROOT / "tests/golden/runs/explore"  # a search, a sweep and a tuning


def make_all(report):
    return {name: getattr(report, name)() for name in SECTIONS}


@pytest.fixture
def run(tmp_path):
    """A run with a performance test and nothing else."""
    folder = write_facts(tmp_path / "run", RunParams())
    write_test(folder / "performance", RESULT, seed_records())
    return Run.open(folder)


def test_a_section_is_empty_where_the_run_has_nothing_for_it(run):
    made = make_all(Report(run))
    assert [name for name, section in made.items() if not section.parts] == [
        "accuracy", "extra_tests",
    ]  # fmt: skip
    assert (run.folder / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_a_report_reads_each_table_once_and_computes_each_figure_once(monkeypatch, run):
    counts = collections.Counter()

    def counted(module, name, key):
        real = getattr(module, name)

        def call(*args, **options):
            counts[key(*args)] += 1
            return real(*args, **options)

        monkeypatch.setattr(module, name, call)

    pd.DataFrame({"time_s": [0.0], "running": [1], "waiting": [0], "preempted": [0],
                  "kv_cache_share": [0.1]}).to_parquet(
        run.folder / "performance" / "engine_steps.parquet")  # fmt: skip
    counted(pd, "read_parquet", lambda path: f"{path.parent.name}/{path.name}")
    figures = ("latencies", "metrics", "load_of", "load_over_time", "kept_share")
    for name in figures:
        counted(results_test, name, lambda *_, name=name: name)
    for name in ("token_rates", "tokens_per_s_interval"):
        counted(results_test.intervals, name, lambda *args, name=name: f"{name} {args[1:]}")
    make_all(Report(run))
    assert counts["performance/records.parquet"] == 1
    assert counts["performance/engine_steps.parquet"] == 1
    assert {counts[name] for name in ("latencies", "metrics", "load_of", "load_over_time")} == {1}
    assert set(counts.values()) == {1}


def test_a_run_without_a_performance_test_has_a_report(tmp_path):
    report = Report(Run.open(write_facts(tmp_path / "run", RunParams())))
    sections = make_all(report)
    assert ": speed not measured" in sections["headline"].parts[0]
    for name in (
        "performance",
        "accuracy",
        "tests",
        "throughput",
        "latency",
        "machine",
        "limits",
        "conformance",
    ):
        assert sections[name].parts == [], name


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_an_unfinished_test_has_a_report_that_says_so(tmp_path, status):
    folder = write_facts(tmp_path / "run", RunParams())
    result = {"scenario": "Server", "status": status}
    rows = [(0, 0, 0, 1, 2, 9, 5), (1, 1, None, None, None, 9, 0)]
    write_test(folder / "performance", result, make_records(rows))
    sections = make_all(Report(Run.open(folder)))
    assert f": test {status}" in sections["headline"].parts[0]
    assert "Test not finished" in sections["what_the_data_say"].parts[0]["Finding"].tolist()


def test_nothing_to_tune_is_said_of_a_performance_test_alone(run):
    nothing = "No finding asks for a change: there is nothing to tune at this load."
    for measured in (True, False):
        report = Report(run)
        vars(report)["findings"] = [Finding("good", "No measurable loss", "by 64 answers", "")]
        _, *after = report.what_the_data_say().parts
        assert after == [nothing] * measured
        shutil.rmtree(run.folder / "performance", ignore_errors=True)
        run = Run.open(run.folder)


def test_no_table_shows_a_column_as_python_calls_it():
    report = Report(Run.open(EXPLORE))
    tables = {
        name: [part for part in getattr(report, name)().parts if isinstance(part, pd.DataFrame)]
        for name in ("tests", "throughput", "extra_tests", "published", "conformance")
    }
    heads = {
        name: [re.findall(r"<th.*?>(.*?)</th>", shown(frame).data) for frame in frames]
        for name, frames in tables.items()
    }
    every = [head for frames in heads.values() for frame in frames for head in frame]
    assert not [head for head in every if "_" in head]
    # A kind of accelerator is not what a sweep offers.
    assert heads["published"][0][:3] == ["accelerator", "kind", "devices"]
    probes, rates, at_once, *_ = heads["extra_tests"]
    assert probes == ["Probe", "queries/s", "verdict", "duration, s"]
    assert rates[:3] == ["test", "target, queries/s", "verdict"]
    assert at_once[:4] == ["queries at once", "verdict", "reached", "passes over the data"]


@pytest.mark.parametrize("name", ["outputs/example", "tests/golden/runs/served"])
def test_committed_runs_are_read_to_their_end(monkeypatch, name):
    run = Run.open(ROOT / name)
    # The folder belongs to the reader: nothing is written into it here.
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
    sections = make_all(Report(run))
    assert "VALID" in sections["summary"].parts[0]
    assert run.summary.tests["accuracy"].status == "complete"
    known = ("PASS", "FAIL", "INCONCLUSIVE", "NO BASELINE")
    assert run.summary.tests["accuracy"].verdict in known


def test_a_sweep_is_read_with_the_search_and_the_main_test_of_its_run():
    parts = Report(Run.open(EXPLORE)).extra_tests().parts
    place = next(place for place, part in enumerate(parts) if getattr(part, "chart", None))
    read, figure, caption = parts[place - 1 : place + 2]
    assert "7 probes of the search and the main test at 6.347 queries/s" in read
    assert "main test" in figure.chart["datasets"]["sweep"]
    # The sweep's own best, at 6 queries/s, has fewer queries/s within the limits.
    assert "goodput: 5.44 queries/s with a target of 6.677 queries/s" in caption
    assert "kept the limits: 6.347 queries/s (main test)" in caption


def test_the_full_dataset_is_that_of_the_benchmark(tmp_path):
    edge = RunParams(benchmark="llama3_1-8b-edge", scenario="Offline")
    folder = write_facts(tmp_path / "run", edge)
    write_test(folder / "performance", RESULT | {"scenario": "Offline"}, seed_records())
    assert "5,000 samples" in Report(Run.open(folder)).throughput().parts[0]


def test_a_section_leaves_out_what_is_empty(capsys):
    assert Section("", None, pd.DataFrame()).parts == []
    Section()._ipython_display_()
    assert capsys.readouterr().out == ""


def test_names_out_of_files_are_shown_and_not_obeyed(tmp_path):
    odd = "<img src=x onerror=alert(1)>_[a](b)*.jsonl"
    folder = write_facts(tmp_path / "run", RunParams(), dataset={"name": odd}, model={"name": odd})
    write_test(folder / "performance", RESULT, seed_records())
    said = [
        part
        for section in make_all(Report(Run.open(folder))).values()
        for part in section.parts
        if isinstance(part, str)
    ]
    assert not [text for text in said if "<img" in text or "[a](b)" in text]
    assert "&lt;img src=x onerror=alert(1)&gt;" in " ".join(said)


@pytest.mark.parametrize(
    ("first_s", "words"),
    [
        (0.2, "is the rate that arrived, not the capacity"),
        (3.0, "TTFT exceeded its limit: capacity within the limits is lower"),
    ],
)
def test_a_rate_over_the_limits_is_not_said_to_leave_room(tmp_path, first_s, words):
    rows = [(2 * i, 2 * i, 2 * i, 2 * i + first_s, 2 * i + 3.5, 9, 50) for i in range(60)]
    folder = write_facts(tmp_path / "run", RunParams())
    write_test(folder / "performance", RESULT, make_records(rows))
    assert words in Report(Run.open(folder)).throughput().parts[0]


def test_a_report_of_64_queries_speaks_of_no_p99(tmp_path):
    rows = [(2 * i, 2 * i, 2 * i, 2 * i + 0.2 + i / 1e3, 2 * i + 3, 9, 50) for i in range(64)]
    folder = write_facts(tmp_path / "run", RunParams())
    write_test(folder / "performance", RESULT, make_records(rows))
    sections = make_all(Report(Run.open(folder)))
    said = " ".join(part for s in sections.values() for part in s.parts if isinstance(part, str))
    assert "p99 needs 662 queries, this test has 64" in said
    # What the test is judged at may be named; no p99 is given a value.
    shown = said.partition("| word |")[0]
    assert not re.findall(r"(?<!for )(?<!at )p99 (?!needs)\S*", shown)
    rates, latencies = sections["performance"].parts[:2]
    assert "p99" not in latencies
    assert latencies.loc["Time to first token (TTFT), ms", "p90"] == "257 (262)"
    assert rates.loc["Goodput, queries/s", "value"]


def test_the_steady_state_stands_beside_the_whole_test_or_is_said_not_to_be_there(run, tmp_path):
    assert "No steady state" in Report(run).throughput().parts[-1]
    # Four at once, a token a second each: 4 tokens/s between the first second and the last.
    rows = [(0, 0, i // 4 * 10, i // 4 * 10 + 1, i // 4 * 10 + 10, 9, 10) for i in range(48)]
    steps = [(s + 1, 0 if s % 10 == 9 else 4, max(0, 44 - s // 10 * 4)) for s in range(120)]
    folder = write_facts(tmp_path / "steady", RunParams(scenario="Offline"))
    write_test(folder / "performance", RESULT | {"scenario": "Offline"}, make_records(rows))
    columns = ["time_s", "running", "waiting"]
    frame = pd.DataFrame(steps, columns=columns).assign(preempted=0, kv_cache_share=0.1)
    frame.to_parquet(folder / "performance" / "engine_steps.parquet")
    parts = Report(Run.open(folder)).throughput().parts
    table = parts[-1]
    assert list(table.index) == ["The whole test", "Its steady state"]
    assert table["tokens/s"].tolist() == ["4.0", "4.0"]
    assert table["mean TPOT, ms"].tolist() == ["1000.0", "1000.0"]


def test_answers_stand_with_their_references_and_articles(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(ROOT / "tests/golden/runs/default", folder)
    path = folder / "accuracy" / "examples.json"
    rows = json.loads(path.read_text())
    rows[0]["summary"] = "<b>bold</b>"
    path.write_text(json.dumps(rows))
    found = accuracy.examples(Run.open(folder))
    for row in rows:
        first = next(one for one in rows if one["kind"] == row["kind"])
        assert (f'<td style="text-align: right">{row["sample_index"]}</td>' in found) == (
            row == first
        )
    assert "&lt;b&gt;bold" in found
    path.write_text("[1")
    assert accuracy.examples(Run.open(folder)) is None


def test_a_run_is_cited_with_what_it_is_and_is_not(run):
    report = Report(run)
    (text,) = [one for one in report.provenance().parts if "To cite" in str(one)]
    sha256 = hashlib.sha256((run.folder / "performance/records.parquet").read_bytes()).hexdigest()
    for said in (run.model.name, "Server", run.environment.git.commit[:12], sha256,
                 "Not an MLPerf result: "):  # fmt: skip
        assert said in text
    assert "Result not verified by MLCommons Association" in provenance.methods(run, [])

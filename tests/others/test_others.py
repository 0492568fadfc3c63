"""Other tools' results, read; fixtures/vllm_bench.json was written by vLLM 0.32's own client."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT

from loadgen_study import Run, cli
from loadgen_study.report import parameters as report_parameters
from loadgen_study.report.sections import comparison
from loadgen_study.runs import compare
from loadgen_study.runs.others.formats import WRITERS, is_other
from loadgen_study.runs.others.loadgen_logs import SCORE, scores
from loadgen_study.runs.others.origin import Origin, differences
from loadgen_study.submission.tree import accuracy_text
from vllm_loadgen import ParameterError

FIXTURES = Path(__file__).parent / "fixtures"
GOLDEN = ROOT / "tests" / "golden" / "runs" / "default"  # never made again
SERVER = GOLDEN / "performance"
OFFLINE = ROOT / "tests" / "golden" / "runs" / "offline" / "performance"
# Formats of a summary's lines, by the figures that they state.
LINES = {
    "samples_per_s": "Completed samples per second    : {:.2f}",
    "tokens_per_s": "Completed tokens per second: {:.2f}",
    "ttft_ms": "Mean First Token latency (ns)               : {:.0f}",
    "tpot_ms": "Mean Time per Output Token (ns)               : {:.0f}",
    "latency_ms": "Mean latency (ns)               : {:.0f}",
}


def logs(folder, test=SERVER, *names):
    """LoadGen's logs alone, as somebody else would send them."""
    folder.mkdir(parents=True)
    for name in names or ("mlperf_log_detail.txt", "mlperf_log_summary.txt"):
        shutil.copy(test / name, folder)
    return folder


def fixture(name):
    return str(FIXTURES / name)


# LoadGen's logs ----------------------------------------------------------------------------------
def test_loadgen_logs_are_read_to_the_digit(tmp_path):
    found = compare.read_digest(str(logs(tmp_path / "sent")))
    summary = (SERVER / "mlperf_log_summary.txt").read_text(encoding="utf-8")
    for name, line in LINES.items():
        value = found.figures[name][0] * (1e6 if name.endswith("_ms") else 1)
        assert line.format(value) in summary, name
        assert found.figures[name][1:] == (None, None)
    assert found.reported["TTFT p99, ms"] == 1147.605868
    assert found.reported["TPOT p90, ms"] == 46.743738
    assert (found.verdict, found.origin.load, found.origin.model) == ("VALID", "open loop", None)
    assert found.quantiles == {}


def edited(folder, name, old, new):
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_log_with_more_digits_counts(tmp_path):
    """LoadGen writes 24593.77 into the summary and 24593.8 into the detail log."""
    folder = logs(tmp_path / "sent")
    edited(folder, "mlperf_log_summary.txt", ": 52.69", ": 24593.77")
    edited(folder, "mlperf_log_detail.txt", '"value": 52.6877', '"value": 24593.8')
    assert compare.read_digest(str(folder)).figures["tokens_per_s"][0] == 24593.77


def test_a_spoilt_number_of_a_summary_is_left_out(tmp_path):
    folder = logs(tmp_path / "sent", SERVER, "mlperf_log_summary.txt")
    edited(folder, "mlperf_log_summary.txt", "tokens per second: 52.69", "tokens per second: 1.4.3")
    edited(folder, "mlperf_log_summary.txt", "99.90 percentile lat", "99.9.0 percentile lat")
    found = compare.read_digest(str(folder))
    assert found.figures["tokens_per_s"] == (None, None, None)
    assert "latency p99.9, ms" not in found.reported
    assert "TTFT p99.9, ms" in found.reported


def test_a_number_beyond_any_float_is_left_out(tmp_path):
    folder = logs(tmp_path / "sent")
    edited(folder, "mlperf_log_detail.txt", '"value": 52.6877', f'"value": 1{"0" * 400}')
    edited(folder, "mlperf_log_summary.txt", "tokens per second: 52.69", "tokens per second: ?")
    assert compare.read_digest(str(folder)).figures["tokens_per_s"] == (None, None, None)


def test_logs_of_two_tests_are_refused(tmp_path):
    folder = logs(tmp_path / "sent")
    edited(folder, "mlperf_log_summary.txt", ": 52.69", ": 53.69")
    with pytest.raises(ParameterError, match="of different tests"):
        compare.read_digest(str(folder))


@pytest.mark.parametrize("test", [SERVER, OFFLINE])
def test_a_summary_alone_says_what_it_has_room_for(tmp_path, test):
    whole = compare.read_digest(str(logs(tmp_path / "whole", test)))
    alone = compare.read_digest(str(logs(tmp_path / "alone", test, "mlperf_log_summary.txt")))
    for name in compare.FIGURES:
        one, other = whole.figures[name][0], alone.figures[name][0]
        assert other == (one if one is None else pytest.approx(one, rel=5e-3)), name
    assert alone.reported.keys() == whole.reported.keys()
    assert alone.verdict == whole.verdict
    assert alone.origin == whole.origin.model_copy(
        update={"output_tokens": alone.origin.output_tokens}
    )


def test_mlcommons_layout_names_model_and_data(tmp_path):
    place = tmp_path / "results" / "BOX" / "llama3.1-8b" / "Server"
    logs(place / "performance" / "run_1")
    (found, again) = (compare.read_digest(str(p)) for p in (place, place / "performance" / "run_1"))
    assert found.name == "BOX llama3.1-8b Server"
    assert found.origin == again.origin
    assert (found.origin.model, found.origin.data) == ("llama3.1-8b", "MLPerf llama3.1-8b")
    # The same prescribed prompts: nothing but the warm-up, which the logs do not have, is open.
    assert [one.aspect for one in differences(found.origin, again.origin)] == ["warmed_up"]


def test_early_stopping_estimates_are_read(tmp_path):
    folder = logs(tmp_path / "sent")
    path = folder / "mlperf_log_summary.txt"
    line = " * Early stopping 90.0th percentile estimate: 123456789\n"
    path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8")
    found = compare.read_digest(str(folder))
    assert found.reported["early-stopping estimate of latency p90, ms"] == 123.456789


# The clients' JSON -------------------------------------------------------------------------------
def test_vllm_bench_is_read_with_its_single_queries():
    found = compare.read_digest(fixture("vllm_bench.json"))
    stated = json.loads(Path(fixture("vllm_bench.json")).read_text(encoding="utf-8"))
    for name, key in (("ttft_ms", "ttft"), ("tpot_ms", "tpot"), ("latency_ms", "e2el")):
        assert found.figures[name][0] == pytest.approx(stated[f"mean_{key}_ms"], rel=1e-9)
        assert len(found.quantiles[name]) == stated["completed"]
    assert found.figures["tokens_per_s"][0] == stated["output_throughput"]
    assert found.reported["TTFT p99, ms"] == stated["p99_ttft_ms"]
    origin = found.origin
    assert (origin.model, origin.load, origin.latency_from) == ("small", "open loop", "sent")
    assert (origin.input_tokens, origin.output_tokens) == (128.0, 32.0)


@pytest.mark.parametrize(
    ("changes", "load"),
    [
        ({"request_rate": "inf", "max_concurrency": None}, "all at once"),
        ({"request_rate": "inf", "max_concurrency": 4}, "closed loop"),
        ({"request_rate": 2.0, "max_concurrency": 4}, "open loop"),
    ],
)
def test_vllm_bench_without_single_queries_has_means_alone(tmp_path, changes, load):
    content = json.loads(Path(fixture("vllm_bench.json")).read_text(encoding="utf-8"))
    kept = {k: v for k, v in content.items() if not isinstance(v, list)} | changes
    path = tmp_path / "plain.json"
    path.write_text(json.dumps(kept), encoding="utf-8")
    found = compare.read_digest(str(path))
    assert found.figures["ttft_ms"] == (content["mean_ttft_ms"], None, None)
    assert (found.quantiles, found.origin.load) == ({}, load)


def test_a_failed_query_of_vllm_bench_has_no_latency(tmp_path):
    content = json.loads(Path(fixture("vllm_bench.json")).read_text(encoding="utf-8"))
    content["output_lens"][0] = content["ttfts"][0] = content["latencies"][0] = 0
    path = tmp_path / "failed.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    found = compare.read_digest(str(path))
    assert found.figures["ttft_ms"][0] == pytest.approx(1e3 * np.mean(content["ttfts"][1:]))


def test_guidellm_is_read_by_benchmark():
    first, second = (compare.read_digest(fixture(f"guidellm.json#{n}")) for n in (1, 2))
    assert (first.name, second.name) == ("guidellm#1", "guidellm#2")
    assert [one.origin.load for one in (first, second)] == ["open loop", "closed loop"]
    # The mean over queries, where the file's own weighs each by its tokens: 11.5.
    assert first.figures["tpot_ms"][0] == 10.0
    assert first.figures["latency_ms"][0] == pytest.approx(1100)
    assert first.reported["TTFT p90, ms"] == 120.0
    assert first.origin.tokens_by == "the server"


def test_a_sample_of_guidellms_queries_is_not_taken_for_all(tmp_path):
    content = json.loads(Path(fixture("guidellm.json")).read_text(encoding="utf-8"))
    content["benchmarks"][0]["requests"]["successful"].pop()
    path = tmp_path / "sample.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    found = compare.read_digest(f"{path}#1")
    assert found.figures["tpot_ms"] == (None, None, None)
    assert found.figures["ttft_ms"][0] == 110.0
    assert found.quantiles == {}


def test_aiperf_is_read():
    found = compare.read_digest(fixture("aiperf.json"))
    assert [found.figures[name][0] for name in compare.FIGURES] == [2.5, 320.0, 255.5, 10.0, 1525.5]
    assert found.reported["TPOT p99, ms"] == 14.0
    origin = found.origin
    assert (origin.model, origin.load, origin.warmed_up) == ("org/small", "closed loop", True)
    assert (origin.version, origin.tokens_by) == ("0.13.0", "the server")


def test_older_aiperf_files_name_model_and_load_elsewhere(tmp_path):
    content = json.loads(Path(fixture("aiperf.json")).read_text(encoding="utf-8"))
    content["input_config"] = {
        "endpoint": {"model_names": ["small"]},
        "loadgen": {"request_rate": 2.0, "warmup_request_count": 0},
    }
    path = tmp_path / "old.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    origin = compare.read_digest(str(path)).origin
    assert (origin.model, origin.load, origin.warmed_up) == ("small", "open loop", False)
    assert origin.tokens_by == "the client's tokenizer"


# Compared ----------------------------------------------------------------------------------------
KNOWN = {"model": "a/Small-1", "load": "open loop", "latency_from": "sent", "tokens_by": "x",
         "warmed_up": True, "input_tokens": 100.0, "output_tokens": 128.0}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"model": "small-1"}, []),
        ({"input_tokens": 101.0}, []),
        ({"model": "b"}, ["other model"]),
        ({"model": None}, ["unknown model"]),
        ({"load": "closed loop"}, ["other load"]),
        ({"input_tokens": 110.0}, ["other input length"]),
        ({"output_tokens": None}, ["unknown output length"]),
        ({"latency_from": "due"}, ["other start of TTFT"]),
        ({"tokens_by": "y", "warmed_up": None}, ["other token counter", "unknown warm-up"]),
    ],
)
def test_what_forbids_a_comparison_is_listed(changes, found):
    one, other = Origin(**KNOWN), Origin(**KNOWN | changes)
    assert [str(each) for each in differences(one, other)] == found


def test_figures_are_compared_as_far_as_nothing_forbids_it():
    bench, aiperf = (compare.read_digest(fixture(f"{n}.json")) for n in ("vllm_bench", "aiperf"))
    near = aiperf.model_copy(update={"origin": bench.origin})
    table = compare.figures_table([bench, near])
    assert table.loc["Mean TTFT, ms", "aiperf"].endswith("%)")
    due = aiperf.model_copy(
        update={"origin": bench.origin.model_copy(update={"latency_from": "due"})}
    )
    table = compare.figures_table([bench, due])
    assert table.loc["Mean TTFT, ms", "aiperf"] == "256 (other start of TTFT)"
    assert table.loc["Output tokens per second", "aiperf"].endswith("%)")
    table = compare.figures_table([bench, aiperf])
    assert table.loc["Output tokens per second", "aiperf"] == "320.0 (other load)"
    assert table.loc["TTFT p99, ms, as reported", "aiperf"] == "390.000"
    rows = compare.origins_table([bench, aiperf])
    assert rows.loc["load"].tolist() == ["open loop", "closed loop"]
    assert rows.loc["warm-up"].tolist() == ["not known", "yes"]
    assert "other load, other input length" in comparison.text([bench, aiperf])


def test_an_own_run_stands_next_to_others():
    own = compare.digest(Run.open(GOLDEN))
    other = compare.read_digest(fixture("vllm_bench.json"))
    table = compare.figures_table([own, other])
    assert table.loc["Mean TPOT, ms", "vllm_bench"].endswith("(other model)")
    assert table.loc["TTFT p99, ms, as reported", "default"] == "1,147.606"
    assert compare.changed_table([own, other]).empty
    assert compare.origins_table([own, own]).empty
    assert not any("reported" in row for row in compare.figures_table([own, own]).index)


# Faults ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "is not a result of LoadGen, vllm bench"),
        ("[1, 2]", "is not a result of"),
        ("", "is not a result of"),
        ('{"model_id": "a", "request_thr', "is not whole JSON"),
        ("\ufeff{", "is not whole JSON"),
        ('{"model_id": 1, "request_throughput": 1, "output_throughput": 1}', "as vllm bench serve"),
        (
            f'{{"model_id": "a", "request_throughput": 1, "output_throughput": 1, "completed": 1, '
            f'"total_input_tokens": 1{"0" * 400}, "total_output_tokens": 1}}',
            "too large for a float",
        ),
        ('{"benchmarks": [], "metadata": {}}', "cannot be read as GuideLLM's"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, text, problem):
    path = tmp_path / "r.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParameterError, match=problem) as caught:
        compare.read_digest(str(path))
    assert "\n" not in str(caught.value)


def test_a_stopped_run_of_aiperf_and_another_unit_are_refused(tmp_path):
    content = json.loads(Path(fixture("aiperf.json")).read_text(encoding="utf-8"))
    path = tmp_path / "r.json"
    path.write_text(json.dumps(content | {"is_complete": False}), encoding="utf-8")
    with pytest.raises(ParameterError, match="stopped before its end"):
        compare.read_digest(str(path))
    content["request_latency"]["unit"] = "sec"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ParameterError, match="request_latency is in sec"):
        compare.read_digest(str(path))


def test_of_several_results_one_must_be_named():
    for name in ("guidellm.json", "guidellm.json#3", "guidellm.json#0"):
        with pytest.raises(ParameterError, match="holds 2 results"):
            compare.read_digest(fixture(name))
    with pytest.raises(ParameterError, match="cannot be read"):
        compare.read_digest(fixture("nothing.json"))


def test_logs_of_an_accuracy_test_have_no_figures(tmp_path):
    accuracy = GOLDEN / "accuracy"
    with pytest.raises(ParameterError, match="of no performance test"):
        compare.read_digest(str(logs(tmp_path / "sent", accuracy)))


def test_scores_of_an_official_folder_stand_next_to_own_scores(tmp_path):
    example = Run.open(GOLDEN)
    folder = tmp_path / "Server"
    logs(folder / "performance" / "run_1")
    (folder / "accuracy").mkdir()
    text = accuracy_text(example.task.scorer, example.accuracy.score, "0" * 64)
    (folder / "accuracy" / "accuracy.txt").write_text(text, encoding="utf-8")
    own, other = compare.digest(example), compare.read_digest(str(folder))
    row = compare.figures_table([own, other]).loc["rouge1 of accuracy.txt, as reported"]
    assert row["default"] == row.iloc[1] == f"{example.accuracy.score['rouge1']:.3f}"
    sent = compare.read_digest(str(folder / "performance" / "run_1"))
    assert sent.reported == other.reported


def test_scores_are_read_as_mlcommons_scripts_print_them():
    text = (
        "Results\n\n{'rouge1': np.float64(44.4), 'exact_match': 90.08, 'rougeL': '24.5'}\nhash=0f1"
    )
    assert scores(dict(SCORE.findall(text))) == {
        "rouge1 of accuracy.txt": 44.4,
        "exact_match of accuracy.txt": 90.08,
        "rougeL of accuracy.txt": 24.5,
    }
    assert scores({"rouge1": "nan", "gen_len": 9}) == {"gen_len of accuracy.txt": 9}


def test_own_runs_are_not_taken_for_others(tmp_path):
    assert not is_other(str(ROOT / "outputs" / "example"))
    assert not is_other(str(tmp_path))
    assert is_other(fixture("guidellm.json#2"))


# Written -----------------------------------------------------------------------------------------
@pytest.fixture
def exported(tmp_path, capsys):
    def export(form):
        out = tmp_path / f"{form}.json"
        run = str(ROOT / "outputs" / "example")
        assert cli.main(["export", run, "--as", form, "--out", str(out)]) == 0
        assert str(out) in capsys.readouterr().out
        return json.loads(out.read_text(encoding="utf-8"))

    return export


def test_a_run_written_as_vllm_bench_reads_back(exported, tmp_path):
    exported("vllm-bench")
    found = compare.read_digest(str(tmp_path / "vllm-bench.json"))
    test = Run.open(ROOT / "outputs" / "example").performance
    assert found.figures["tpot_ms"][0] == pytest.approx(test.metrics.tpot_ms.mean)
    assert found.figures["ttft_ms"][0] == pytest.approx(test.latencies["sent_ttft_ms"].mean())
    assert found.origin.output_tokens == test.metrics.output_tokens.mean
    assert found.origin.load == "open loop"


def test_a_run_written_for_llm_d_has_its_figures(exported):
    content = exported("llm-d")
    metrics = Run.open(ROOT / "outputs" / "example").performance.metrics
    found = content["results"]["request_performance"]["aggregate"]
    assert found["throughput"]["output_token_rate"]["mean"] == pytest.approx(metrics.tokens_per_s)
    assert found["latency"]["time_to_first_token"]["p90"] == metrics.ttft_ms.p90
    # 64 queries bound no p99.
    assert "p99" not in found["latency"]["time_to_first_token"]
    assert content["version"] == "0.2"


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_a_run_without_a_test_is_not_exported(form, tmp_path, capsys):
    shutil.copy(ROOT / "outputs" / "example" / "params.yaml", tmp_path)
    assert cli.main(["export", str(tmp_path), "--as", form]) == 1
    assert "has no finished performance test" in capsys.readouterr().err


def test_the_report_is_of_the_first_own_run_among_others(monkeypatch):
    own, other = str(ROOT / "outputs" / "example"), fixture("vllm_bench.json")
    cell = f"run = ''\nruns = {[other, own]!r}"
    monkeypatch.setattr(report_parameters, "_executed_cells", lambda: [cell])
    run = report_parameters.run_to_read()
    assert run.folder == Path(own)
    compared = report_parameters.runs_to_compare(run)
    assert [one.name for one in compared] == ["vllm_bench", "example"]

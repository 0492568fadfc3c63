"""The first screen and the sentences that hang on the run, of runs that differ."""

import math
import shlex

import pytest
from helpers import DATASET, MODEL, RESULT, make_records, seed_records, write_facts, write_test

from loadgen_study import Run, RunParams, cli
from loadgen_study.accuracy import baseline
from loadgen_study.facts.scores import Accuracy, AccuracyVerdict, Comparison, Peak, Probe, Score
from loadgen_study.report import next_steps
from loadgen_study.report.report import Report
from loadgen_study.runs.compare import digest

VALID = RESULT | {
    "verdict": "VALID",
    "loadgen_results": {"min_duration_met": True, "min_queries_met": True},
    "effective_settings": RESULT["effective_settings"] | {"target_latency_percentile": 0.9},
}
ACCURACY = {"scenario": "Server", "status": "complete", "mode": "accuracy"}
SCORE = Score(rouge1=1, rouge2=1, rougeL=1, rougeLsum=1, gen_len=1, gen_num=1)
KEEPS_UP = [(2 * i, 2 * i, 2 * i, 2 * i + 0.2, 2 * i + 3, 9, 50) for i in range(64)]
AT_ONCE = [(0, 0, i, i + 0.2, i + 3, 9, 50) for i in range(64)]
PROBES = (Probe(qps=1.3, valid=True, duration_s=60), Probe(qps=1.4, valid=False, duration_s=60))
PEAK = Peak(offline_samples_per_s=1.57, highest_valid_qps=1.3, lowest_invalid_qps=1.4,
            confirmed=True, probes=PROBES)  # fmt: skip


def compared(ratios, low=None, high=None):
    """A comparison a score; the interval is of each."""
    return tuple(
        Comparison(metric=name, actual=36 * ratio, reference=36, ratio=ratio, required="",
                   required_99_9="", met=ratio >= 0.99, met_99_9=ratio >= 0.999, ratio_low=low,
                   ratio_high=high)
        for name, ratio in zip(("rouge1", "rouge2", "rougeL", "rougeLsum"), ratios, strict=True)
    )  # fmt: skip


@pytest.fixture
def made(tmp_path):
    """A run of these parts."""

    def make(records=KEEPS_UP, result=VALID, verdict=None, peak=None, params=None, **facts):
        folder = write_facts(tmp_path / "runs" / "mine", params or RunParams(), **facts)
        if records is not None:
            rows = make_records(records) if isinstance(records, list) else records
            write_test(folder / "performance", result, rows)
        if verdict:
            (folder / "accuracy").mkdir()
            score = Accuracy(score=SCORE, verdict=verdict)
            score.write(folder / "accuracy" / "accuracy.json")
        if peak:
            peak.write(folder / "peak.json")
        return Run.open(folder)

    return make


def screen(run):
    report = Report(run)
    return report.headline().parts[0], report.summary().parts[0]


def test_the_headline_has_both_verdicts(made):
    lost = compared([0.993, 0.963, 0.976, 0.988])
    failed = AccuracyVerdict(status="FAIL", against="the baseline", comparisons=lost)
    head, said = screen(made(verdict=failed))
    assert head.startswith(
        "## smollm2-135m-instruct on 2 cores of AMD EPYC: speed VALID, accuracy FAIL "
        "(unofficial run)"
    )
    assert (
        "**FAIL**: ROUGE-2 96.3 %, ROUGE-L 97.6 % and ROUGE-Lsum 98.8 % of the baseline, where "
        "99 % is needed; ROUGE-1 99.3 % would do."
    ) in said
    assert "-p dtype float32 -p run_name mine-float32" in said


def test_a_load_is_not_said_to_be_the_machines_speed(made):
    _, said = screen(made())
    assert "Load: 0.5 queries/s asked for, 0.5 arrived, all 64 answered: " in said
    assert "The most it can do: not measured; no queue built up at this load." in said
    assert "First token (TTFT): p90 200 ms (at most 200 ms), limit 2,000 ms" in said
    assert "limits kept at p90 (the rules ask for p99) yes" in said
    assert "-p target_qps auto -p run_name mine-peak" in said
    assert "an hour" not in Report(made()).throughput().parts[0]


@pytest.mark.parametrize(
    ("scenario", "drawn"),
    [("Server", ["Time to first token", "Time per output token"]),
     ("SingleStream", ["Latency of a query"]), ("Offline", [])],
)  # fmt: skip
def test_the_answers_have_a_picture_of_what_is_judged(made, scenario, drawn):
    run = made(result=VALID | {"scenario": scenario}, params=RunParams(scenario=scenario))
    _, *picture = Report(run).summary().parts
    if not drawn:
        assert picture == []
        return
    figure, caption = picture
    assert [panel["title"]["text"] for panel in figure.chart["hconcat"]] == drawn
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert all(name in caption for name in drawn)


def test_nothing_measured_has_no_picture(made):
    result = {"scenario": "Server", "status": "failed"}
    run = made(make_records(KEEPS_UP).iloc[:0], result)
    assert len(Report(run).summary().parts) == 1


def test_a_search_stands_first_with_the_offline_rate_beside_it(made):
    run = made(peak=PEAK, params=RunParams(target_qps="auto"))
    _, said = screen(run)
    lines = said.splitlines()
    assert lines[2] == (
        "- **Highest VALID rate: target 1.3 queries/s** (1.4 fails), confirmed by the full test. "
        "All at once (Offline) it answers 1.57 a second."
    )
    assert "The most it can do" not in said
    assert "target_qps auto" not in said
    assert "-p target_qps 1.3 -p sweep_qps '[0.52, 0.91, 1.3]' -p run_name mine-sweep" in said


def test_one_of_a_thing_is_said_as_one(made):
    one = PEAK.model_copy(update={"highest_valid_qps": 1.0})
    sample = {"samples": 1, "total_samples": 1}
    run = made(peak=one, params=RunParams(target_qps=1.0), dataset=sample)
    head, said = screen(run)
    assert " 1 built-in news article, in" in head
    assert "0.5 queries/s arrived, 0.488 completed, target 1 query/s**" in said
    assert "Load: 1 query/s asked for" in said
    assert "1 query/s, confirmed" in Report(run).extra_tests().parts[0]


def test_a_search_without_a_valid_rate_says_so(made):
    none = PEAK.model_copy(update={"highest_valid_qps": 0.0, "confirmed": False})
    _, said = screen(made(peak=none, params=RunParams(target_qps="auto")))
    assert "**No rate was VALID** in the search." in said


def test_an_overload_is_the_capacity(made):
    head, said = screen(made(records=seed_records(queries=40), result=RESULT))
    assert "speed INVALID, accuracy not tested" in head
    assert "The most it can do: 0.34 queries/s, which is less than arrived: a queue grew" in said
    assert "limit 2,000 ms **exceeded**" in said
    assert said.count("To be VALID: Lower target_qps below the 0.34 queries/s that were") == 1
    assert "**Which rate keeps the limits?**" in said
    assert "Are the answers any good?" in said


def test_a_rate_over_its_limits_is_not_said_to_leave_room(made):
    slow = [(2 * i, 2 * i, 2 * i, 2 * i + 3, 2 * i + 3.5, 9, 50) for i in range(64)]
    _, said = screen(made(records=slow, result=RESULT))
    assert "The most it can do: not known, and within the limits less than this load." in said


def test_offline_has_a_rate_and_no_limits(made):
    result = VALID | {"scenario": "Offline", "effective_settings": {}}
    run = made(records=AT_ONCE, result=result, params=RunParams(scenario="Offline"))
    _, said = screen(run)
    assert "**0.97 queries/s**, all due at once; all 64 answered" in said
    assert "no limit; most of it is waiting, since all are due at 0 s" in said
    assert "asked for" not in said
    assert "limits kept" not in said
    assert "-p scenario Server -p target_qps auto" in said


def test_too_few_samples_are_no_failure(made):
    near = compared([0.985] * 4, low=0.963, high=1.024)
    verdict = AccuracyVerdict(
        status="INCONCLUSIVE", against="the baseline", comparisons=near, samples_needed=640
    )
    head, said = screen(made(verdict=verdict))
    assert "accuracy INCONCLUSIVE" in head
    assert (
        "The samples are too few to be sure (ROUGE-1: 96.3 to 102.4 %, 95 % interval over "
        "samples); about 640 like these would do."
    ) in said


@pytest.mark.parametrize(
    ("total", "action"), [(100, ""), (500, "Raise num_samples: 100 of 500 samples were used.")]
)
def test_more_samples_are_advised_only_where_the_dataset_has_more(made, total, action):
    near = compared([0.985] * 4, low=0.963, high=1.024)
    verdict = AccuracyVerdict(status="INCONCLUSIVE", against="it", comparisons=near)
    run = made(verdict=verdict, dataset={"total_samples": total})
    (found,) = [one for one in Report(run).findings if one.id == "answers"]
    assert found.action == action


def test_batch_limits_are_no_question_where_queries_come_one_by_one(made):
    result = VALID | {"scenario": "SingleStream", "effective_settings": {}}
    one = made(result=result, params=RunParams(scenario="SingleStream"))
    assert "batch limits" not in next_steps.further_commands(one)


@pytest.mark.parametrize("status", ["INCONCLUSIVE", "FAIL"])
def test_a_reference_of_0_decides_nothing_and_nan_is_never_shown(made, status):
    within = {"required": "2.7 to 3.3", "required_99_9": "2.7 to 3.3", "met_99_9": False}
    length = Comparison(
        metric="gen_len", actual=9, reference=3, ratio=3, met=status != "FAIL", **within
    )
    nothing = {"actual": 0, "reference": 0, "ratio": math.nan, "met": False, "met_99_9": False}
    rows = [row.model_copy(update=nothing) for row in compared([1.0] * 4)]
    verdict = AccuracyVerdict(status=status, against="it", comparisons=(*rows, length))
    data = {"samples": 16, "unscorable_references": 16}
    run = made(verdict=verdict, dataset=data)
    head, said = screen(run)
    assert f"accuracy {status}" in head
    assert "ROUGE cannot score any reference" in said
    assert "the baseline's own is 0: ROUGE-1, ROUGE-2, ROUGE-L, ROUGE-Lsum" in said
    assert ("the length of the answers 300.0 %" in said) == (status == "FAIL")
    report = Report(run)
    findings = report.what_the_data_say().parts[0]
    texts = [head, said, *report.accuracy().parts, findings, digest(run).rouge1]
    assert "nan" not in " ".join(map(str, texts)).lower()
    assert digest(run).rouge1 is None
    if status == "INCONCLUSIVE":
        assert "Answer quality: undecided by ROUGE" in findings["Finding"].tolist()
        assert "dtype float32" not in said


def test_a_pass_says_how_many_references_were_not_scored(made):
    passed = AccuracyVerdict(status="PASS", against="it", comparisons=compared([1.0] * 4))
    run = made(verdict=passed, dataset={"samples": 16, "unscorable_references": 3})
    assert "ROUGE cannot score 3 of 16 references" in screen(run)[1]


def test_what_was_not_judged_says_why(made, monkeypatch):
    verdict = AccuracyVerdict(status="NO BASELINE", against="nothing: no baseline is stored")
    run = made(verdict=verdict, dataset={"samples": 16})
    head, said = screen(run)
    assert "accuracy not judged" in head
    assert "**Not judged**: There is no baseline of this model and these data" in said
    monkeypatch.setattr("loadgen_study.findings.answers.samples_covered", lambda _: 64)
    _, said = screen(run)
    assert "The stored baseline covers 64 samples, and this run asked 16 of them." in said


def test_the_nearest_baseline_is_that_of_more_samples_alone(tmp_path):
    from loadgen_study.facts.inputs import Dataset, Model

    model, data = Model(**MODEL), Dataset(**DATASET)
    key = baseline.baseline_key(model, data, 128, 1)
    file = tmp_path / "baseline.json"
    stored = baseline.Baseline(key=key, score=SCORE, provenance={})
    file.write_text(f"[{stored.model_dump_json()}]")
    fewer = baseline.baseline_key(model, data.model_copy(update={"samples": 16}), 128, 1)
    other = baseline.baseline_key(model, data.model_copy(update={"samples": 16}), 64, 1)
    assert baseline.samples_covered(fewer, file) == 100
    assert baseline.samples_covered(other, file) is None


def test_accuracy_alone_is_a_report(made):
    passed = AccuracyVerdict(status="PASS", against="it", comparisons=compared([1.0] * 4))
    run = made(records=None, verdict=passed)
    head, said = screen(run)
    assert "speed not measured, accuracy PASS" in head
    assert "Not measured: this run has no performance test." in said
    assert "ROUGE-1 100.0 %, ROUGE-2 100.0 %" in said
    findings = Report(run).what_the_data_say().parts[0]
    assert findings["Finding"].tolist() == ["Answer quality: pass"]


def test_an_interrupted_test_is_not_trusted(made):
    result = {"scenario": "Server", "status": "interrupted"}
    rows = [(0, 0, 0, 1, 2, 9, 5), (1, 1, None, None, None, 9, 0)]
    head, said = screen(made(records=rows, result=result))
    assert "speed NOT VALID: the run was interrupted" in head
    assert "**1 of 2 answered**" in said
    assert "For this machine: **no**: the test was interrupted; test not finished." in said
    assert "**Make the test again that did not end**" in said
    assert "-p run_name mine\n" in said


def test_a_test_that_was_cut_off_before_its_first_query_has_a_first_screen(made):
    _, said = screen(
        made(make_records(KEEPS_UP).iloc[:0], {"scenario": "Server", "status": "failed"})
    )
    assert "Nothing was measured: the test was failed before its first query." in said


def test_logged_errors_are_a_reason_not_to_trust(made):
    _, said = screen(made(result=VALID | {"num_errors": 2, "error_lines": ["one", "two"]}))
    assert "For this machine: **no**: errors in LoadGen's log." in said


@pytest.mark.parametrize("peak", [None, PEAK], ids=["no peak", "peak"])
def test_every_command_is_one_that_the_program_takes(made, peak):
    target = "auto" if peak else 0.5
    run = made(peak=peak, params=RunParams(target_qps=target, sweep_qps=[0.5]))
    for step in next_steps.steps(run):
        words = shlex.split(step.command)
        if words[0] != "vllm-loadgen":
            assert words[:3] == ["papermill", "notebooks/analysis.ipynb", "both.ipynb"]
            continue
        options = cli._parser().parse_args(words[1:])
        asked = RunParams.from_dict(cli._given(options.params, options.p))
        assert asked.run_name.startswith("mine")
        if asked.run_name != "mine":  # the extra tests of this run are not made again
            assert asked.sweep_qps == ([0.52, 0.91, 1.3] if "sweep" in asked.run_name else [])
            assert asked.target_qps == (1.3 if peak else asked.target_qps)


def test_the_report_of_a_zip_names_the_zip_and_its_commands_work(made, tmp_path, monkeypatch):
    from loadgen_study.results.folders import project_root
    from loadgen_study.runs.bundle import bundle

    monkeypatch.chdir(tmp_path)  # which is the project then
    assert project_root() == tmp_path
    asked = RunParams(target_qps="auto", sweep_qps=[0.5], min_query_count=321)
    bundle(made(peak=PEAK, params=asked), tmp_path / "sent to me.zip")
    run = Run.open("sent to me.zip")
    assert run.display_path("tuned.yaml") == "sent to me.zip/tuned.yaml"
    report = Report(run)
    sections = (report.summary(), report.further_questions(), report.provenance())
    said = " ".join(part for one in sections for part in one.parts if isinstance(part, str))
    assert "make report PARAMS='sent to me.zip/params.yaml'" in said
    assert str(run.folder) not in said
    assert "vllm-loadgen-" not in said  # the temporary folder
    for step in next_steps.steps(run):
        words = shlex.split(step.command)
        if words[0] == "papermill":
            assert words[-1] == "[sent to me.zip, OTHER]"
            continue
        options = cli._parser().parse_args(words[1:])
        assert options.params == "sent to me.zip/params.yaml"
        assert RunParams.from_dict(cli._given(options.params, options.p)).min_query_count == 321


def test_an_accuracy_test_that_asked_for_all_at_once_tells_what_the_machine_can_do(made):
    run = made()
    at_once = make_records([(0, 0, 0, 1, 2 + i, 9, 5) for i in range(4)])
    write_test(run.folder / "accuracy", ACCURACY, at_once)
    said = screen(Run.open(run.folder))[1]
    assert "All 4 samples at once (the accuracy test, whatever the latency): 0.8 queries/s" in said
    assert "4 output tokens/s" in said
    spread = make_records([(i, i, i, 1 + i, 2 + i, 9, 5) for i in range(4)])
    write_test(run.folder / "accuracy", ACCURACY, spread)
    assert "at once" not in screen(Run.open(run.folder))[1]

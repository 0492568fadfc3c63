"""The first screen and the next commands, of runs that differ."""

import math
import re
import shlex
import shutil

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from helpers import (
    DATASET,
    MODEL,
    RESULT,
    ROOT,
    make_records,
    seed_records,
    write_facts,
    write_test,
)

from loadgen_study import Run, RunParams, cli
from loadgen_study.accuracy import baseline
from loadgen_study.facts.scores import (
    Accuracy,
    AccuracyVerdict,
    Comparison,
    Estimate,
    Fidelity,
    Peak,
    Probe,
    Score,
)
from loadgen_study.findings.answers import said
from loadgen_study.report import first_screen, next_steps
from loadgen_study.report.first_facts import facts
from loadgen_study.report.first_screen import headline
from loadgen_study.report.report import Report
from loadgen_study.rules.rule import IDENTITY, Rule
from loadgen_study.runs.compare import digest
from vllm_loadgen.records.engine import EngineFacts

GOLDEN = ROOT / "tests/golden/runs"

VALID = RESULT | {
    "verdict": "VALID",
    "loadgen_results": {"min_duration_met": True, "min_queries_met": True},
    "effective_settings": RESULT["effective_settings"] | {"target_latency_percentile": 0.9},
}
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

    def make(records=KEEPS_UP, result=VALID, verdict=None, peak=None, params=None, fidelity=None,
             **facts):  # fmt: skip
        folder = tmp_path / "runs" / "mine"
        shutil.rmtree(folder, ignore_errors=True)
        write_facts(folder, params or RunParams(), **facts)
        if records is not None:
            rows = make_records(records) if isinstance(records, list) else records
            write_test(folder / "performance", result, rows)
        if verdict:
            (folder / "accuracy").mkdir()
            score = Accuracy(score=SCORE, verdict=verdict, fidelity=fidelity)
            score.write(folder / "accuracy" / "accuracy.json")
        if peak:
            peak.write(folder / "peak.json")
        return Run.open(folder)

    return make


def title_of(run):
    return headline(run).splitlines()[0].removeprefix("## smollm2-135m-instruct on ")


def facts_of(run):
    """Label and value by what a fact is of, and the report that they are in."""
    report = Report(run)
    return {fact.label: fact for fact in facts(run, report.rules, report.findings)}


def badges_of(run):
    """The text and the colour of each badge, as the page has them."""
    page = BeautifulSoup(Report(run).summary().parts[0], "html.parser")
    return {one.get_text(): one["class"][1] for one in page.select(".badge")}


def questions_of(run):
    return [step.question for step in next_steps.steps(run)]


def verdict_of(status, ratios=(1.0,) * 4, **more):
    return AccuracyVerdict(status=status, against="it", comparisons=compared(ratios), **more)


def forced(value, low, high):
    """Teacher forcing on 18 of 64 answers."""
    change = Estimate(value=value, low=low, high=high)
    known = {"forced_answers": 18, "forced_tokens": 2234, "logprob_difference": change}
    return Fidelity(answers=64, identical=13, **known)


# The title and the verdicts -------------------------------------------------------------------
def test_a_valid_test_meets_its_limits_at_what_arrived(made):
    run = made()
    assert title_of(run) == "2 CPU cores meets the latency limits at 0.5 queries/s"
    assert badges_of(run) == {
        "LoadGen: VALID": "good", "Quality: not tested": "plain",
        "Not an MLPerf result: 6 rules not met": "plain",
    }  # fmt: skip
    rules = facts_of(run)["MLPerf rules met"]
    assert (rules.value, rules.unit, rules.kind) == ("13", "of 29", "bad")
    assert rules.notes[0].startswith("not met: model, dataset, ")


OFFLINE = {"scenario": "Offline", "effective_settings": {}}
SLOW = [(2 * i, 2 * i, 2 * i, 2 * i + 3, 2 * i + 3.5, 9, 50) for i in range(64)]


@pytest.mark.parametrize(
    ("parts", "title", "badge"),
    [
        ({"records": None}, "2 CPU cores: speed not measured", "Speed: not measured"),
        (
            {"records": AT_ONCE, "result": VALID | OFFLINE},
            "2 CPU cores completes 0.97 queries/s, all due at once",
            "LoadGen: VALID",
        ),
        (
            {"result": VALID | {"scenario": "SingleStream"}},
            "2 CPU cores answers one query at a time, p90 latency 3,000 ms",
            "LoadGen: VALID",
        ),
        (
            {"records": seed_records(queries=40), "result": RESULT},
            "2 CPU cores is overloaded at 0.5 queries/s",
            "LoadGen: INVALID (overloaded, over the TTFT limit)",
        ),
        (
            {"records": SLOW, "result": RESULT},
            "2 CPU cores exceeds the TTFT limit at 0.5 queries/s",
            "LoadGen: INVALID (over the TTFT limit)",
        ),
        (
            {"records": KEEPS_UP[:20], "result": VALID | {"verdict": "INVALID"}},
            "2 CPU cores at 0.5 queries/s: too few queries",
            "LoadGen: INVALID (too few queries)",
        ),
        (
            {"result": VALID | {"num_errors": 2, "error_lines": ["one", "two"]}},
            "2 CPU cores: LoadGen logged 2 errors",
            "LoadGen: NOT VALID (LoadGen logged 2 errors)",
        ),
        (
            {"records": KEEPS_UP[:2], "result": {"scenario": "Server", "status": "interrupted"}},
            "2 CPU cores: test interrupted",
            "LoadGen: no verdict (test interrupted)",
        ),
        (
            {
                "records": make_records(KEEPS_UP).iloc[:0],
                "result": {"scenario": "Server", "status": "failed"},
            },
            "2 CPU cores: test failed",
            "LoadGen: no verdict (test failed)",
        ),
    ],
)
def test_the_title_says_how_the_test_ended(made, parts, title, badge):
    scenario = parts.get("result", VALID)["scenario"]
    run = made(**parts, params=RunParams(scenario=scenario))
    assert title_of(run) == title
    assert next(iter(badges_of(run))) == badge


def test_a_test_without_its_end_has_a_limit_that_is_not_known(made):
    run = made(records=KEEPS_UP[:2], result={"scenario": "Server", "status": "interrupted"})
    found = [fact for label, fact in facts_of(run).items() if label[:4] in ("TTFT", "TPOT")]
    assert [fact.notes[0] for fact in found] == ["limit not known"] * len(found) != []


def test_answers_that_no_model_made_are_no_models(made):
    run = made(params=RunParams(engine="echo"))
    assert headline(run).startswith("## echo engine (no model) on 2 CPU cores meets ")
    assert "bfloat16" not in headline(run)


@pytest.mark.parametrize(
    ("verdict", "fidelity", "badge"),
    [
        (verdict_of("PASS"), None, {"Quality: PASS": "good"}),
        (verdict_of("FAIL"), forced(0, -0.001, 0.001), {"Quality: ROUGE FAIL": "bad"}),
        (verdict_of("INCONCLUSIVE"), None, {"Quality: undecided": "open"}),
        (
            verdict_of("INCONCLUSIVE"),
            forced(0, -0.001, 0.001),
            {"Quality: no measurable loss": "good"},
        ),
        (
            verdict_of("INCONCLUSIVE"),
            forced(0.003, 0.001, 0.004),
            {"Quality: no measurable loss": "good"},
        ),
        (
            verdict_of("INCONCLUSIVE"),
            forced(-0.003, -0.004, -0.001),
            {"Quality: loss measured": "open"},
        ),
        (  # rounding of two engines in float32
            verdict_of("PASS"),
            forced(-6e-6, -7e-6, -5e-6),
            {"Quality: no measurable loss": "good"},
        ),
        (verdict_of("INCONCLUSIVE"), forced(0, -0.02, 0.02), {"Quality: undecided": "open"}),
        (verdict_of("INCONCLUSIVE"), forced(0, None, None), {"Quality: undecided": "open"}),
        (
            AccuracyVerdict(status="NO BASELINE", against="nothing"),
            None,
            {"Quality: not judged (no matching baseline)": "plain"},
        ),
    ],
)
def test_quality_is_decided_by_what_has_power(made, verdict, fidelity, badge):
    assert badge.items() <= badges_of(made(verdict=verdict, fidelity=fidelity)).items()


def test_quality_shows_teacher_forcing_first_then_the_gate(made):
    ratios = [0.981, 0.958, 0.978, 0.975]
    verdict = verdict_of("INCONCLUSIVE", ratios, samples_needed=3555)
    run = made(verdict=verdict, fidelity=forced(-0.0002, -0.0022, 0.0018))
    found = facts_of(run)["Quality vs. float32"]
    assert (found.value, found.unit, found.kind) == ("-0.0002", "nats", "good")
    assert found.notes[0] == "per token [-0.0022, +0.0018]; 18 of 64 answers"
    assert found.notes[1].startswith("ROUGE 95.8 to 98.1 %, gate 99 %: ")
    assert found.notes[1].endswith("needs about 3,600")


def test_the_gate_stands_alone_without_teacher_forcing(made):
    lost = verdict_of("FAIL", [0.993, 0.963, 0.976, 0.988])
    run = made(verdict=lost)
    found = facts_of(run)["ROUGE vs. reference"]
    assert (found.value, found.unit, found.kind) == ("96.3", "to 99.3 %", "bad")
    assert "Does float32 score higher?" in questions_of(run)
    assert "ROUGE-1 99.3 % passes." in said(run)
    echo = made(verdict=lost, params=RunParams(engine="echo"))  # no model computes in a precision
    assert "Does float32 score higher?" not in questions_of(echo)
    (found,) = [one for one in Report(echo).findings if one.id == "answers"]
    assert "float32" not in found.action


def test_a_run_that_breaks_no_rule_is_unverified(made):
    run, met = made(), Rule("a", "A", "", "", True)
    note = "identity of the data not checked"
    unknown = Rule(IDENTITY, "Identity of the data", "MLCommons' file", "sha256:ab", None, note)
    for rules, badge in (
        ([met], "Unverified"),
        ([unknown], f"Unverified (1 not checked; {note})"),
    ):
        page = BeautifulSoup(first_screen.screen(run, rules, []), "html.parser")
        assert page.select(".badge")[-1].get_text() == badge
        assert page.select_one(".footnote").get_text() == first_screen.FOOTNOTE
    broken = BeautifulSoup(Report(run).summary().parts[0], "html.parser")
    assert not broken.select(".footnote")


# The facts ------------------------------------------------------------------------------------
def test_a_latency_stands_against_its_limit_with_its_bound(made):
    rows = [(2 * i, 2 * i, 2 * i, 2 * i + 0.1 + i / 100, 2 * i + 3, 9, 50) for i in range(64)]
    found = facts_of(made(rows))["TTFT p90"]
    assert (found.value, found.unit, found.kind) == ("670", "ms", "good")
    assert found.notes == ["limit 2,000 ms", "99 % upper bound 720 ms"]
    assert found.bar == pytest.approx((0.335, 0.36, 1))


def test_too_few_queries_have_a_maximum_and_no_percentile(made):
    found = facts_of(made(KEEPS_UP[:20]))
    assert "TTFT p90" not in found
    assert found["TTFT maximum"].notes == ["limit 2,000 ms", "p90 needs 64 queries"]
    assert found["TTFT maximum"].kind == "plain"
    assert found["Confidence"].value == "single run"


def test_an_exceeded_limit_is_red_and_its_bar_ends_beyond_it(made):
    found = facts_of(made(SLOW, RESULT))["TTFT maximum"]
    assert (found.value, found.kind) == ("3,000", "bad")
    assert found.bar == pytest.approx((1, 1, 2 / 3))


def test_the_load_stands_against_the_capacity_where_it_is_known(made):
    run = made()
    load = facts_of(run)["Offered load"]
    assert (load.value, load.bar) == ("0.5", None)
    assert load.notes == ["capacity not measured", "target 0.5; 64 of 64 completed"]
    at_once = make_records([(0, 0, 0, 1, 2 + i, 9, 5) for i in range(4)])
    write_test(run.folder / "accuracy", {"scenario": "Server", "status": "complete"}, at_once)
    found = facts_of(Run.open(run.folder))
    assert found["Offered load"].notes[0] == "62 % of batch throughput 0.8 (accuracy test)"
    assert found["Offered load"].bar == pytest.approx((0.625, 0.625, 1))
    assert found["Output"].notes == ["batch 4"]
    spread = make_records([(i, i, i, 1 + i, 2 + i, 9, 5) for i in range(4)])
    write_test(run.folder / "accuracy", {"scenario": "Server", "status": "complete"}, spread)
    assert facts_of(Run.open(run.folder))["Output"].bar is None


def test_an_overload_shows_the_capacity(made):
    found = facts_of(made(seed_records(queries=40), RESULT))["Offered load"]
    assert (found.value, found.kind, found.notes[0]) == ("0.5", "bad", "capacity 0.34")
    assert found.bar == pytest.approx((1, 1, 0.68), abs=0.01)


def test_a_search_shows_what_arrived_and_was_completed_at_its_highest_rate(made):
    run = made(peak=PEAK, params=RunParams(target_qps=1.3))
    found = facts_of(run)["Highest VALID load"]
    assert (found.value, found.unit) == ("0.5", "queries/s")
    assert found.notes == ["target 1.3; 0.488 completed", "1.4 fails"]
    unsure = PEAK.model_copy(update={"confirmed": False})
    found = facts_of(made(peak=unsure, params=RunParams(target_qps=1.3)))["Offered load"]
    assert found.notes[-1] == "2 rates tried: VALID up to target 1.3"
    single = unsure.model_copy(update={"probes": PROBES[:1]})
    found = facts_of(made(peak=single, params=RunParams(target_qps=1.3)))["Offered load"]
    assert found.notes[-1] == "1 rate tried"
    none = unsure.model_copy(update={"highest_valid_qps": 0.0})
    assert facts_of(made(peak=none))["Offered load"].notes[-1] == "2 rates tried: none VALID"


def test_offline_has_a_rate_and_neither_limits_nor_a_first_token(made):
    run = made(AT_ONCE, VALID | OFFLINE, params=RunParams(scenario="Offline"))
    found = facts_of(run)
    assert found["Batch throughput"].value == "0.97"
    assert not [label for label in found if label.startswith("TTFT")]
    assert found["TPOT p90"].notes[0] == "no limit"
    assert len(Report(run).summary().parts) == 2  # no picture


def test_what_makes_figures_doubtful_stands_with_the_confidence(made):
    found = facts_of(made(result=VALID | {"num_errors": 2, "error_lines": ["one", "two"]}))
    assert (found["Confidence"].value, found["Confidence"].kind) == ("single run", "bad")
    assert found["Confidence"].notes[0] == "! errors in LoadGen's log"
    quiet = facts_of(made())["Confidence"]
    assert (quiet.kind, quiet.notes) == ("plain", ["64 queries in 129 s"])


def test_efficiency_is_of_the_engines_steps():
    run = Run.open(GOLDEN / "default")
    steps = run.anatomy.steps
    alone = steps[steps["prefill_tokens"] == 0]
    share = alone["least_ms"].sum() / alone["duration_ms"].sum()
    found = facts_of(run)["Efficiency, decode"]
    assert (found.value, found.unit) == (f"{share * 100:.0f}", "%")
    assert found.bar.value == pytest.approx(share)
    assert facts_of(Run.open(GOLDEN / "served"))["Efficiency"].value == "not known"


def test_an_accuracy_test_alone_has_its_quality_and_batch_throughput(made):
    run = made(records=None, verdict=verdict_of("PASS"))
    assert list(facts_of(run)) == ["ROUGE vs. reference"]
    at_once = make_records([(0, 0, 0, 1, 2 + i, 9, 5) for i in range(4)])
    write_test(run.folder / "accuracy", {"scenario": "Server", "status": "complete"}, at_once)
    assert facts_of(Run.open(run.folder))["Batch throughput"].value == "0.8"
    findings = Report(run).what_the_data_say().parts[0]
    assert findings["Finding"].tolist() == ["Answer quality: pass"]


@pytest.mark.parametrize(
    ("scenario", "drawn"),
    [("Server", ["Time to first token", "Time per output token"]),
     ("SingleStream", ["Latency of a query"])],
)  # fmt: skip
def test_the_screen_has_a_picture_of_what_is_judged(made, scenario, drawn):
    run = made(result=VALID | {"scenario": scenario}, params=RunParams(scenario=scenario))
    _, figure, caption, _ = Report(run).summary().parts
    assert [panel["title"]["text"] for panel in figure.chart["hconcat"]] == drawn
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert "64 queries" in caption


def test_the_screen_is_short_and_needs_no_script():
    run = Run.open(GOLDEN / "default")
    parts = [BeautifulSoup(part, "html.parser") for part in Report(run).summary().parts[::3]]
    assert len(parts[0].select(".fact")) == 8
    assert len(parts[1].select("pre")) == next_steps.FIRST
    for page in parts:
        assert not page.select("script, button, [onclick]")
        for unread in page.select("style, pre"):
            unread.decompose()
    text = headline(run) + " ".join(page.get_text(" ") for page in parts)
    assert len(re.findall(r"(?<![\w.])[A-Za-z][\w/.'-]*", text)) < 145


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
    run = made(verdict=verdict, dataset={"samples": 16, "unscorable_references": 16})
    assert facts_of(run)["ROUGE vs. reference"].value == "not decidable"
    assert ("the length of the answers 300.0 %" in said(run)) == (status == "FAIL")
    report = Report(run)
    findings = report.what_the_data_say().parts[0]
    texts = [*report.summary().parts, *report.accuracy().parts, findings, digest(run).rouge1]
    assert (
        "nan" not in re.sub("<style>.*?</style>", "", " ".join(map(str, texts)), flags=re.S).lower()
    )
    assert digest(run).rouge1 is None
    if status == "INCONCLUSIVE":
        assert "Answer quality: undecided by ROUGE" in findings["Finding"].tolist()
        assert "Does float32 score higher?" not in questions_of(run)


def test_a_pass_says_how_many_references_were_not_scored(made):
    run = made(verdict=verdict_of("PASS"), dataset={"samples": 16, "unscorable_references": 3})
    assert "ROUGE cannot score 3 of 16 references" in said(run)


def test_what_was_not_judged_says_why(made, monkeypatch):
    run = made(verdict=AccuracyVerdict(status="NO BASELINE", against=""), dataset={"samples": 16})
    assert said(run) == "No baseline of this model and data is stored."
    monkeypatch.setattr("loadgen_study.findings.answers.samples_covered", lambda _: 64)
    assert said(run) == "The baseline covers 64 samples, this run uses 16."


def test_the_nearest_baseline_is_that_of_more_samples_alone(tmp_path):
    from loadgen_study.facts.inputs import Dataset, Model

    model, data = Model(**MODEL), Dataset(**DATASET)
    key = baseline.baseline_key(model, data, RunParams())
    file = tmp_path / "baseline.json"
    stored = baseline.Baseline(key=key, score=SCORE, provenance={})
    file.write_text(f"[{stored.model_dump_json()}]")
    fewer = baseline.baseline_key(model, data.model_copy(update={"samples": 16}), RunParams())
    shorter = RunParams(max_new_tokens=64)
    other = baseline.baseline_key(model, data.model_copy(update={"samples": 16}), shorter)
    assert baseline.samples_covered(fewer, file) == 100
    assert baseline.samples_covered(other, file) is None


# The next commands ----------------------------------------------------------------------------
def test_a_command_is_given_only_where_it_can_help(made):
    assert questions_of(made(verdict=verdict_of("PASS"))) == [
        "What is the highest VALID load?", "How repeatable is this?",
        "How does it compare with another run?",
    ]  # fmt: skip
    few = made(KEEPS_UP[:20], VALID | {"verdict": "INVALID"})
    command = {step.question: step.command for step in next_steps.steps(few)}
    assert "-p min_query_count 64 " in command["Is it VALID with enough queries?"]
    assert "Which load meets the limits?" in questions_of(made(SLOW, RESULT))
    cut = made(KEEPS_UP[:2], {"scenario": "Server", "status": "interrupted"})
    assert questions_of(cut) == ["Repeat the unfinished test"]


def test_more_samples_only_where_there_are_more(made):
    question, open_ = "How good are the answers to all samples?", verdict_of("INCONCLUSIVE")
    some, all_ = {"samples": 16, "total_samples": 64}, {"samples": 64, "total_samples": 64}
    assert question in questions_of(made(verdict=open_, dataset=some))
    run = made(verdict=open_, dataset=all_)
    assert question not in questions_of(run)
    assert "Does float32 score higher?" in questions_of(run)
    decided = made(verdict=open_, fidelity=forced(0, -0.001, 0.001), dataset=all_)
    assert "Does float32 score higher?" not in questions_of(decided)
    (found,) = [one for one in Report(decided).findings if one.id == "answers"]
    assert found.action == ""


@pytest.mark.parametrize(
    ("running", "waiting", "offered"), [(4, 2, True), (4, 0, False), (3, 2, False)]
)
def test_a_larger_batch_only_where_this_one_was_full(made, running, waiting, offered):
    run = made()
    EngineFacts(engine="vllm", max_num_seqs=4).write(run.folder / "engine.json")
    steps = {"time_s": [1.0], "running": [running], "waiting": [waiting], "preempted": [0],
             "kv_cache_share": [0.1]}  # fmt: skip
    pd.DataFrame(steps).to_parquet(run.folder / "performance" / "engine_steps.parquet")
    commands = [step.command for step in next_steps.steps(Run.open(run.folder))]
    assert any("tune '{max_num_seqs: [8, 16]}'" in command for command in commands) == offered


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
    from loadgen_study.share import bundle

    monkeypatch.chdir(tmp_path)  # which is the project then
    assert project_root() == tmp_path
    asked = RunParams(target_qps="auto", sweep_qps=[0.5], min_query_count=321)
    bundle(made(peak=PEAK, params=asked), tmp_path / "sent to me.zip")
    run = Run.open("sent to me.zip")
    assert run.display_path("tuned.yaml") == "sent to me.zip/tuned.yaml"
    report = Report(run)
    sections = (report.summary(), report.further_questions(), report.provenance())
    shown = " ".join(part for one in sections for part in one.parts if isinstance(part, str))
    assert "make report PARAMS='sent to me.zip/params.yaml'" in shown
    assert str(run.folder) not in shown
    assert "vllm-loadgen-" not in shown  # the temporary folder
    for step in next_steps.steps(run):
        words = shlex.split(step.command)
        if words[0] == "papermill":
            assert words[-1] == "[sent to me.zip, OTHER]"
            continue
        options = cli._parser().parse_args(words[1:])
        assert options.params == "sent to me.zip/params.yaml"
        assert RunParams.from_dict(cli._given(options.params, options.p)).min_query_count == 321


def test_a_console_has_the_same_in_seven_lines():
    report = Report(Run.open(GOLDEN / "default"))
    said = first_screen.lines(report.run, report.rules, report.findings)
    assert len(said) == 7
    assert said[1].startswith("LoadGen: VALID; Quality: no measurable loss; Not an MLPerf result")
    assert said[2].startswith("TTFT p90: 551 ms (limit 2,000 ms;")

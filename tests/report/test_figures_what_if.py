"""The sliders' counts, computed by Vega from the chart itself, against Python's."""

import json
import math
import re
import xml.etree.ElementTree as ET

import pytest
import vl_convert
from helpers import RESULT, SETTINGS, imitated, make_records, seed_records
from limits import outcome

from loadgen_study.analysis.early_stopping import judged
from loadgen_study.report.figures import what_if

# TTFT 3 to 900 ms, TPOT 20 to 119 ms.
ROWS = [(i, i, i, i + 0.003 * (i + 1), i + 0.003 * (i + 1) + 0.1 * (20 + i % 100) / 10, 9, 11)
        for i in range(300)]  # fmt: skip
RECORDS = make_records(ROWS)
UNANSWERED = make_records([*ROWS, (301, 301, None, None, None, 9, 0)])
P90 = {**RESULT, "effective_settings": {**SETTINGS, "target_latency_percentile": 0.9}}


def texts(chart, **limits):
    """What the chart writes when its sliders stand there."""
    chart = json.loads(json.dumps(chart))
    for param in chart["params"]:
        param["value"] = limits.get(param["name"], param["value"])
    drawn = ET.fromstring(vl_convert.vegalite_to_svg(chart, vl_version="5.20"))
    return [node.text for node in drawn.iter() if node.tag.endswith("text") and node.text]


def python_says(test, ttft_ms, tpot_ms):
    found = outcome(test.latencies, ttft_ms, tpot_ms, judged(test.result, "ttft")[1])
    per_s = test.metrics.samples_per_s * found.within_both
    total = len(test.latencies)
    lines = [f"{100 * share:.1f} % ({round(share * total):,} of {total:,})"
             for share in (found.within_ttft, found.within_tpot, found.within_both)]  # fmt: skip
    counts = (found.over_ttft, found.over_tpot)
    over = [f"{count:,} ({found.allowed:,} allowed)" for count in counts]
    return [*lines, f"{per_s:.3f}", *over, "VALID" if found.kept else "INVALID: too many over"]


@pytest.mark.parametrize(
    ("ttft_ms", "tpot_ms"), [(2000, 100), (900, 118), (895, 118), (3, 20), (450, 150), (840, 112)]
)
def test_vega_and_python_say_the_same(ttft_ms, tpot_ms):
    test = imitated(RECORDS, {**P90, "verdict": "INVALID"})
    chart = what_if.chart(test).chart
    shown = texts(chart, ttft_limit=ttft_ms, tpot_limit=tpot_ms)
    expected = python_says(test, ttft_ms, tpot_ms)
    assert [text for text in shown if text in expected] == expected


def test_both_verdicts_occur():
    test = imitated(RECORDS, P90)
    assert python_says(test, 900, 118)[-1] == "VALID"
    assert python_says(test, 450, 150)[-1].startswith("INVALID")


def test_the_sliders_begin_at_the_tests_own_limits_and_reach_its_slowest_query():
    test = imitated(RECORDS, P90)
    for name, own in (("ttft", 2000), ("tpot", 100)):
        step, end, start = what_if.slider(test, name)
        assert start == own
        assert end >= max(test.latencies[f"{name}_ms"].max(), own)
        assert math.isclose(end / step, what_if.POSITIONS)


def test_what_no_limit_cures_is_said():
    few = imitated(seed_records())
    assert what_if.blocked(few) == "INVALID: p99 needs 459 queries"
    assert "No limits make 20 queries enough" in what_if.caption(few)
    short = {**P90, "loadgen_results": {"min_duration_met": False}}
    test = imitated(RECORDS, short)
    chart = what_if.chart(test).chart
    assert "INVALID: the test was too short" in texts(chart, ttft_limit=2000, tpot_limit=150)
    assert what_if.blocked(imitated(RECORDS, P90)) == ""
    # LoadGen says INVALID for the limits; without them the missing answer would remain.
    assert what_if.blocked(imitated(UNANSWERED, P90)) == "NOT VALID: no answer"


def test_the_caption_has_the_tightest_limits():
    said = what_if.caption(imitated(RECORDS, P90))
    allowed = re.search(r"lets (\d+) of 300 queries", said).group(1)
    assert int(allowed) == outcome(imitated(RECORDS).latencies, 1, 1, 0.9).allowed


def test_only_a_server_test_has_limits_to_move():
    offline = what_if.what_if(imitated(RECORDS, {**P90, "scenario": "Offline"}))
    assert "this one is Offline" in offline.parts[0]

import pytest
from helpers import RESULT, THREE, imitated, imitated_run, make_records, write_facts, write_test

from loadgen_study import Run, RunParams
from loadgen_study.findings.collect import find, given_by
from loadgen_study.report.first_facts import facts
from loadgen_study.rules.conformance import rules_of
from vllm_loadgen.http.metrics import RESTARTED
from vllm_loadgen.records.engine import EngineFacts

PARAMS = RunParams(engine="openai", base_url="http://127.0.0.1:1")
MINE = ("prefix-cache", "prefix-cache-likely", "other-clients", "server-counters", "one-piece")
TOKENS = int(make_records(THREE)["output_tokens"].sum())


def run_of(counts=None, **engine):
    result = RESULT | {"server": counts}
    test = imitated(make_records(THREE), result, params=PARAMS)
    return imitated_run(test, engine=EngineFacts(engine="openai", **engine), params=PARAMS)


def found_in(run):
    return {one.id: one for one in find(given_by(run)) if one.id in MINE}


def test_cached_prompts_doubt_the_figures():
    counts = {"prompt_tokens": 200, "cached_tokens": 162, "output_tokens": TOKENS}
    (found,) = found_in(run_of(counts)).values()
    assert (found.id, found.severity, found.doubts) == ("prefix-cache", "problem", True)
    assert found.title.startswith("81 %")
    assert "38 of 200 prompt tokens" in found.evidence
    assert not found_in(run_of(counts | {"cached_tokens": 0}))
    assert not found_in(run_of())


@pytest.mark.parametrize(
    ("seen_by", "ids"), [("probe", {"prefix-cache-likely"}), ("metrics", set())]
)
def test_a_probe_says_likely(seen_by, ids):
    assert set(found_in(run_of(prefix_caching=True, cache_seen_by=seen_by))) == ids
    assert not found_in(run_of(cache_seen_by=seen_by))


def test_tokens_for_others_doubt_the_figures():
    assert set(found_in(run_of({"output_tokens": 2 * TOKENS}))) == {"other-clients"}
    assert not found_in(run_of({"output_tokens": TOKENS}))
    assert not found_in(run_of({"output_tokens": TOKENS // 2}))


def test_counters_that_are_not_known_are_a_note():
    (found,) = found_in(run_of({"problem": RESTARTED})).values()
    assert (found.severity, found.doubts, found.evidence) == ("note", False, RESTARTED)


@pytest.mark.parametrize(
    ("counts", "met", "words"),
    [
        (None, None, "the server's"),
        ({"problem": RESTARTED}, None, "the server's"),
        ({"prompt_tokens": 200, "cached_tokens": 0}, True, "measured: 0 of 200"),
        ({"prompt_tokens": 200, "cached_tokens": 1}, False, "measured: 1 of 200"),
    ],
)
def test_the_rule_is_measured_where_there_are_counters(tmp_path, counts, met, words):
    folder = write_facts(tmp_path / "run", PARAMS)
    write_test(folder / "performance", RESULT | {"server": counts}, make_records(THREE))
    run = Run.open(folder)
    (rule,) = [one for one in rules_of(run) if one.id == "prefix-caching"]
    assert rule.met is met
    assert rule.actual.startswith(words)
    (trust,) = [one for one in facts(run, [], []) if one.label == "Confidence"]
    assert any("prefix cache: not known" in note for note in trust.notes) == (met is None)


def test_answers_in_one_piece_have_no_tpot():
    rows = [(i, i, None, i + 1, i + 1, 9, 50) for i in range(4)]
    for own, found in ((PARAMS, {"one-piece"}), (RunParams(engine="echo"), set())):
        run = imitated_run(imitated(make_records(rows), RESULT, params=own))
        assert set(found_in(run)) == found
    smooth = [(i, i, None, i + 1, i + 2, 9, 50) for i in range(4)]
    assert not found_in(imitated_run(imitated(make_records(smooth), RESULT, params=PARAMS)))

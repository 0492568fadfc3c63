"""Each benchmark by its name alone: built-in data, echoed, scored, reported and submitted."""

import re

import pytest

from loadgen_study import LiveRun, RunParams
from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.report.report import Report
from loadgen_study.rules.conformance import rules_of
from loadgen_study.runs.compare import digest
from loadgen_study.scorers.unscored import UNSCORED
from loadgen_study.submission.preflight import preflight
from loadgen_study.submission.tree import build_submission
from vllm_loadgen.errors import ParameterError

pytestmark = pytest.mark.process
# One of each suite.
SUITES = {one.suite.folder: name for name, one in reversed(BENCHMARKS.items())}
# Words of one task alone, by what its built-in data are.
WORDS = {"articles.jsonl": ("article", "highlights", "summarize")}
SECTIONS = ("headline", "summary", "what_the_data_say", "accuracy", "conformance", "words")


@pytest.fixture(scope="module", params=SUITES.values(), ids=SUITES.keys())
def live(request, tmp_path_factory):
    """All tests that the benchmark has, by the echo engine."""
    params = RunParams.from_dict({
        "benchmark": request.param, "scenario": "Offline", "engine": "echo", "target_qps": 200.0,
        "min_duration_ms": 200, "warmup_queries": 0, "run_name": "r",
        "outputs": str(tmp_path_factory.mktemp("out")),
    })  # fmt: skip
    with LiveRun.start(params) as live:
        live.perform("performance")
        live.perform("accuracy")
        live.score()
        list(live.comply())
    return live


def test_the_report_has_the_words_of_the_task_alone(live):
    run = live.read()
    task = run.task
    parts = [part for name in SECTIONS for part in getattr(Report(run), name)().parts]
    text = " ".join(str(part) for part in parts).lower()
    assert task.scorer.main.title.lower() in text
    for data, words in WORDS.items():
        found = re.findall("|".join(words), text)
        assert bool(found) == (data == task.embedded)
    assert ("rouge" in text) == ("rouge" in str([one.name for one in task.scorer.metrics]))
    assert digest(run).model_dump()[task.scorer.main.name] == run.score


def test_every_answer_is_scored_or_counted_as_not_scored(live):
    score = live.read().accuracy.score
    file = live.folder / "accuracy" / UNSCORED
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    assert len(lines) == score.get("not_scored", 0)
    assert score["gen_num"] == len(live.samples)


def test_its_rules_and_its_compliance_tests_are_judged(live):
    run = live.read()
    benchmark = run.params.rules
    ids = {rule.id for rule in rules_of(run)}
    assert {name.lower() for name in benchmark.compliance} <= ids
    assert ("round" in ids) == benchmark.suite.retired
    judged = [path.parent.name for path in run.folder.glob("*/compliance.json")]
    assert len(judged) == max(1, len(benchmark.compliance))


def test_it_goes_into_a_submission(live, tmp_path):
    suite = live.params.rules.suite
    root = build_submission([live.folder], tmp_path, "open", "me", "box")
    (folder,) = (root / "results" / "box").iterdir()
    text = (folder / "Offline" / "accuracy" / "accuracy.txt").read_text(encoding="utf-8")
    score, scorer = live.read().accuracy.score, live.params.rules.task.scorer
    whole = not score.get("not_scored") and not score.get("undecided")
    judged = [one.name for one in scorer.by_sample if one.limits and one.name in score]
    assert all((f"'{name}'" in text) == (whole or name != "exact_match") for name in judged)
    refused = [one.message for one in preflight([live.folder], "closed")]
    # The checker's own number of samples (OFFLINE_MIN_SPQ_SINCE_V4), whatever mlperf.conf says.
    most = f"samples per query not met by user config, Expected={live.params.rules.samples}"
    assert any(most in message for message in refused)
    assert any("was last in" in message for message in refused) == suite.retired
    for name in live.params.rules.compliance or ("TEST06",):
        assert (folder / "Offline" / name).is_dir()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_data_of_another_benchmark_name_the_columns_that_lack(name, tmp_path):
    path = tmp_path / "other.jsonl"
    path.write_text('{"prompt": "a", "answer": "b"}\n', encoding="utf-8")
    scenario = next(iter(BENCHMARKS[name].scenarios))
    given = {"benchmark": name, "scenario": scenario, "engine": "echo", "dataset": str(path)}
    with pytest.raises(ParameterError, match="it has the columns prompt, answer") as caught:
        LiveRun.start(RunParams.from_dict(given | {"max_model_len": 40_000}))
    for column in BENCHMARKS[name].task.data.text:
        assert column in str(caught.value)

"""The real engine given the reference's answers: as it is, and broken by an option.

A loss like that of a wrong option (ROUGE-1 of 38.5 became 10.2 in a participant's report) is seen
in four short answers.
"""

import pytest

from loadgen_study import LiveRun, RunParams
from loadgen_study.accuracy import baseline, fidelity, scores
from loadgen_study.facts.scores import Baseline
from loadgen_study.runs import quality, scoring

pytestmark = pytest.mark.engine
PARAMS = RunParams(
    num_samples=4, max_new_tokens=24, scenario="Offline", dtype="float32", warmup_queries=0,
    cpu_kv_cache_gib=1,
)  # fmt: skip
# The angles of another model: it loads, runs, and reads its positions wrongly.
BROKEN = {"hf_overrides": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}}


@pytest.fixture
def short_baseline(tmp_path, monkeypatch):
    """Stores the beginnings of the embedded baseline's answers for a run of these samples."""
    whole = next(entry for entry in baseline._read(baseline.EMBEDDED) if entry.answers_sha256)
    known, path = baseline.load_answers(whole), tmp_path / "baseline.json"
    load_baseline, load_answers = baseline.load_baseline, baseline.load_answers

    def made(live: LiveRun) -> None:
        count, most = len(live.samples), live.params.max_new_tokens
        answers = baseline.Answers(
            *([row[:most] for row in rows[:count]] for rows in (known.tokens, known.logprobs))
        )
        scorer = live.params.rules.task.scorer
        scored = scores.score_tokens(answers.tokens, live.samples.targets, live.decode, scorer)
        key = scoring.baseline_key(live)
        entry = Baseline(key=key, score=scorer.totals(scored), provenance={})
        baseline.save_baseline(entry, answers, path)
        monkeypatch.setattr(baseline, "load_baseline", lambda *key: load_baseline(*key, path))
        monkeypatch.setattr(baseline, "load_answers", lambda entry: load_answers(entry, path))
        monkeypatch.setattr(fidelity, "load_answers", baseline.load_answers)

    return made


def test_a_broken_engine_is_told_from_a_whole_one_by_four_answers(tmp_path, short_baseline):
    runs = {}
    for name, options in {"whole": {}, "broken": BROKEN}.items():
        own = {"engine_options": options, "outputs": str(tmp_path), "run_name": name}
        with LiveRun.start(PARAMS.changed(**own)) as live:
            short_baseline(live)
            live.perform("accuracy")
            live.score()
        runs[name] = live.read()
    whole, broken = (runs[name].accuracy.fidelity for name in ("whole", "broken"))
    assert whole.problem == broken.problem == ""
    assert 64 < whole.forced_tokens <= 96
    # Two engines in float32: a near-tie may go either way.
    assert whole.agreement.value >= 0.97
    assert abs(whole.logprob_difference.value) < 0.01
    assert whole.identical >= 3
    assert broken.agreement.high < whole.agreement.low
    assert broken.logprob_difference.high < -0.1
    (found,) = quality.compare_answers(list(runs.items()))[0:1]
    assert found.difference.agreement.high < 0
    assert found.difference.most_changed is not None

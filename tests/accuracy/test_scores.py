"""Logs are written by hand; ROUGE is worked out by hand in the comments."""

import json
import math
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import DATASET, MODEL

from loadgen_study.accuracy import baseline, clustered, scores
from loadgen_study.accuracy.log import read_accuracy_log
from loadgen_study.benchmarks import BENCHMARKS
from loadgen_study.benchmarks.llama3_1_8b import SUMMARIES
from loadgen_study.facts.inputs import Dataset, Model
from loadgen_study.facts.scores import AccuracyVerdict, Baseline, Score
from loadgen_study.scorers import rouge
from loadgen_study.scorers.rouge import ROUGE_NAMES
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.params import TestParams
from vllm_loadgen.sampling import Sampling

# Ids 1 and 2 stand for whole summaries, so that the text of a log is known.
TEXTS = {1: " the cat sat ", 2: "Cat sleeps. Dogs barking."}
REFERENCES = ["the cat sat on the mat", "Dogs bark. Cats sleep.\n"]
VOCAB_SIZE = 128256
SCORER = SUMMARIES.scorer


def decode(answers: list[list[int]]) -> list[str]:
    return [TEXTS[tokens[0]] for tokens in answers]


def entry(seq_id: int, qsl_idx: int, data: str, **others: object) -> dict[str, object]:
    return {"seq_id": seq_id, "qsl_idx": qsl_idx, "data": data, "token_count": len(data) // 8} | (
        others
    )


# Sample 0 is answered with ids 1, 9 and sample 1 with ids 2, 9, 128255 (0x0001F4FF, low byte first)
GOOD = [entry(0, 1, "0200000009000000FFF40100"), entry(1, 0, "0100000009000000")]


def write(folder: Path, log: object) -> Path:
    path = folder / "mlperf_log_accuracy.json"
    path.write_text(log if isinstance(log, str) else json.dumps(log))
    return path


def scored(path: Path, references: list[str] = REFERENCES) -> pd.DataFrame:
    tokens = scores.answer_tokens(path, 2, VOCAB_SIZE)
    return scores.score_tokens(tokens, {"reference": references}, decode, SCORER)


def score(path: Path) -> Score:
    return SCORER.totals(scored(path))


@pytest.mark.slow
def test_score_is_what_a_human_computes(tmp_path: Path) -> None:
    """The two samples, F1 of each:

    0: 3 of 3 words and 3 of 6 are shared: 2/3. Word pairs: 2 of 2 and 2 of 5: 4/7. The longest
       common subsequence has 3 words: 2/3, and so for the whole summary.
    1: with the stemmer all words are shared: 1. Word pairs: 2 of 3 and 2 of 3: 2/3. The longest
       common subsequence has 2 of 4 words: 1/2; sentence by sentence it has all: 1.
    """
    assert score(write(tmp_path, GOOD)) == {
        "rouge1": 83.3333,
        "rouge2": 61.9048,
        "rougeL": 58.3333,
        "rougeLsum": 83.3333,
        "gen_len": 36,  # "the cat sat" and "Cat sleeps.\nDogs barking."
        "gen_num": 2,
        "gen_tok_len": 5,
    }


@pytest.mark.slow
def test_score_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert score(write(tmp_path, GOOD))["gen_num"] == 2


def test_identical_repeats_count_once(tmp_path: Path) -> None:
    once = score(write(tmp_path, GOOD))
    assert score(write(tmp_path, [*GOOD, GOOD[0] | {"seq_id": 2}])) == once


def test_sentences_know_abbreviations_and_numbers() -> None:
    text = "  Dr. Smith paid $3.50 to the U.S. firm. He left at 5 p.m. on Monday! "
    expected = "Dr. Smith paid $3.50 to the U.S. firm.\nHe left at 5 p.m. on Monday!"
    assert rouge.sentences(text) == expected


def test_log_keeps_first_tokens(tmp_path: Path) -> None:
    path = write(tmp_path, [entry(0, 4, "0500000007000000", token_data="05000000")])
    answer = read_accuracy_log(path)[0]
    ids = answer.tokens.tolist(), answer.first_tokens.tolist()
    assert (answer.qsl_idx, *ids) == (4, [5, 7], [5])


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (json.dumps(GOOD)[:-20], "not a whole"),
        ("MLPerf Results Summary", "not a whole"),
        ('{"seq_id": 0}', "not a whole"),
        ([], "no answers"),
        ([entry(0, 0, "01000000") | {"seq_id": "0"}], "entry 0, seq_id"),
        ([entry(0, -1, "01000000")], "entry 0, qsl_idx"),
        ([GOOD[0], entry(1, 0, "0100000")], "entry 1, data"),
        ([GOOD[0], entry(1, 0, "010000")], "3 bytes"),
        ([GOOD[0], entry(1, 0, "zz000000")], "entry 1, data"),
        ([GOOD[0], entry(1, 0, "0") | {"data": 7}], "not hex text"),
        ([GOOD[0], entry(1, 0, "FFFFFFFF")], "token id -1"),
        ([GOOD[0], entry(1, 0, "00F50100")], "token id 128256"),
        ([GOOD[0], GOOD[1] | {"token_count": 3}], "token_count = 3 but 2 ids"),
        ([GOOD[0]], "lacks 1 of 2 samples, first sample 0"),
        ([*GOOD, entry(2, 2, "01000000")], "answers sample 2"),
        ([*GOOD, entry(2, 0, "0200000009000000")], "two different answers to sample 0"),
    ],
)
def test_a_log_that_cannot_be_trusted_gives_no_score(
    tmp_path: Path, log: object, words: str
) -> None:
    with pytest.raises(BenchmarkError, match=words):
        score(write(tmp_path, log))


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"mlperf_log_accuracy\.json cannot be read"):
        score(tmp_path / "mlperf_log_accuracy.json")


def test_too_few_references_give_no_score(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="1 references for 2 samples"):
        scored(write(tmp_path, GOOD), REFERENCES[:1])


def test_another_dataset_is_refused() -> None:
    recorded = Dataset(**DATASET)
    scores.check_same_dataset(recorded, Dataset(**DATASET))
    with pytest.raises(BenchmarkError, match="checksum is sha256:bb"):
        scores.check_same_dataset(recorded, Dataset(**DATASET | {"checksum": "sha256:bb"}))


def test_sample_table_shows_best_and_worst_side_by_side(tmp_path: Path) -> None:
    samples = scored(write(tmp_path, GOOD))
    texts = ["A cat on a mat", "Animals"]
    table = scores.sample_table(samples, texts, SUMMARIES, rows=1, text_chars=8)
    assert table["sample_index"].tolist() == [1, 0]
    assert table["kind"].tolist() == ["best", "worst"]
    assert table["article"].tolist() == ["Animals", "A cat ..."]
    assert table.loc[1, "summary"] == "the cat sat"
    assert table.loc[0, "rouge2"] == pytest.approx(200 / 3)


# Just above and just below 0.99 of the reference, by the figures on the checker's page.
EDGE_OF_PASSING = {
    "rouge1": 38.3915,
    "rouge2": 15.7485,
    "rougeL": 24.2508,
    "rougeLsum": 35.4351,
    "gen_len": 7350880,
    "gen_num": 13368,
}


def test_official_limits_are_the_checkers() -> None:
    verdict = scores.official_verdict(Score(**EDGE_OF_PASSING), BENCHMARKS["llama3_1-8b"])
    assert verdict.status == "PASS"
    assert verdict.levels == {"99 %": True, "99.9 %": False}
    assert [row.required for row in verdict.comparisons] == [
        ">= 38.3914",
        ">= 15.7484",
        ">= 24.2507",
        ">= 35.4351",
        "7350879.6 to 8984408.4",
        "= 13368",
    ]


@pytest.mark.parametrize(
    "worse",
    [
        {"rouge1": 38.3914},  # the limit is 38.391408
        {"rouge2": 15.7484},
        {"rougeL": 24.2507},
        {"rougeLsum": 35.4350},
        {"gen_len": 7350879},
        {"gen_len": 8984409},
        {"gen_num": 13367},
    ],
)
def test_one_figure_below_its_official_limit_fails(worse: dict[str, float]) -> None:
    score = Score(**EDGE_OF_PASSING | worse)
    assert scores.official_verdict(score, BENCHMARKS["llama3_1-8b"]).status == "FAIL"


def test_edge_has_its_own_limits() -> None:
    comparisons = scores.official_verdict(
        Score(**EDGE_OF_PASSING), BENCHMARKS["llama3_1-8b-edge"]
    ).comparisons
    assert [row.required for row in comparisons] == [
        ">= 38.6694",
        ">= 15.9536",
        ">= 24.3911",
        ">= 35.7628",
        "2746001.7 to 3356224.3",
        "= 5000",
    ]


BASELINE_SCORE = {
    "rouge1": 40.0,
    "rouge2": 20.0,
    "rougeL": 30.0,
    "rougeLsum": 35.0,
    "gen_len": 20000,
    "gen_num": 48,
}


NO_ANSWERS = baseline.Answers([], [])


def stored_baseline(**changes: object) -> Baseline:
    """A baseline of the imitated model and data."""
    values = {
        "key": baseline.baseline_key(Model(**MODEL), Dataset(**DATASET), TestParams()),
        "score": Score(**BASELINE_SCORE),
        "provenance": {},
    }
    return Baseline(**values | changes)


@pytest.mark.parametrize(
    ("changed", "status", "closer"),
    [
        ({}, "PASS", True),
        ({"rouge1": 39.7}, "PASS", False),  # 99 % of 40 is 39.6, 99.9 % is 39.96
        ({"rouge1": 39.5}, "FAIL", False),
        ({"gen_len": 18000}, "PASS", True),
        ({"gen_len": 17999}, "FAIL", False),
        ({"gen_num": 47}, "FAIL", False),
    ],
)
def test_verdict_against_a_baseline(changed: dict[str, float], status: str, closer: bool) -> None:
    verdict = scores.baseline_verdict(SCORER, Score(**BASELINE_SCORE | changed), stored_baseline())
    assert (verdict.status, verdict.levels["99.9 %"]) == (status, closer)


def test_without_a_baseline_nothing_passes() -> None:
    verdict = scores.baseline_verdict(SCORER, Score(**BASELINE_SCORE), None)
    assert (verdict.status, verdict.levels) == ("NO BASELINE", {})


def key(model: dict | None = None, dataset: dict | None = None, limits: tuple = (128, 1)):
    """A baseline's key, with changes of the imitated model and data."""
    found = Model(**MODEL | (model or {})), Dataset(**DATASET | (dataset or {}))
    longest, shortest = limits
    params = TestParams(max_new_tokens=longest, min_new_tokens=shortest)
    return baseline.baseline_key(*found, params)


def test_a_baseline_serves_only_the_same_weights_data_and_limits(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    stored = stored_baseline()
    baseline.save_baseline(stored, NO_ANSWERS, path)
    stored = baseline.load_baseline(key(), SCORER, path)
    # A configuration file carries the version of the library that wrote it.
    same = {"sha256": {"model.safetensors": "aa", "config.json": "other"}}
    assert baseline.load_baseline(key(same), SCORER, path) == stored
    for other in (
        key({"sha256": {"model.safetensors": "ab"}}),
        key(dataset={"checksum": "sha256:cd"}),
        key(dataset={"samples": 1}),
        key(dataset={"chat_template": False}),
        key(limits=(64, 1)),
    ):
        assert baseline.load_baseline(other, SCORER, path) is None


def test_saving_a_baseline_replaces_its_equal(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    one, other = key(), key(limits=(64, 1))
    for which, gen_num in ((one, 1), (other, 2), (one, 3)):
        score = Score(**BASELINE_SCORE | {"gen_num": gen_num})
        baseline.save_baseline(stored_baseline(key=which, score=score), NO_ANSWERS, path)
    assert len(json.loads(path.read_text())) == 2
    found = baseline.load_baseline(one, SCORER, path)
    assert found is not None
    assert found.score["gen_num"] == 3


def test_a_damaged_baseline_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text('[{"key": 1}]')
    with pytest.raises(BenchmarkError, match=r"baseline\.json holds no baselines.*0\.key"):
        baseline.load_baseline(key(), SCORER, path)


@pytest.mark.process
def test_reference_engine_answers_as_one_step_at_a_time(tmp_path: Path) -> None:
    """Padding, order and the end of text: against the plain argmax of each prompt alone."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2)
    heads = dict(num_attention_heads=2, num_key_value_heads=1)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=13, **shape, **heads)).eval()
    model.save_pretrained(tmp_path)
    prompts = [[3, 1, 4], [1, 5, 9, 2, 6, 5], [3]]

    def alone(prompt: list[int], ends: list[int]) -> list[int]:
        answer: list[int] = []
        while len(answer) < 6 and not (answer and answer[-1] in ends):
            with torch.no_grad():
                logits = model(torch.tensor([prompt + answer])).logits[0, -1]
            if not answer:  # one token at least: the end of text cannot come first
                logits[ends] = -torch.inf
            answer.append(int(logits.argmax()))
        return answer

    def likelihood(prompt: list[int], answer: list[int]) -> list[float]:
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        known = logits.log_softmax(-1)
        own = known[range(len(answer)), answer]
        return own.where(own >= known.amax(-1), torch.nan).tolist()

    free = baseline.generate(tmp_path, prompts, 6, 1, [], batch_size=2)
    assert free.tokens == [alone(prompt, []) for prompt in prompts]
    ends = [free.tokens[0][2], free.tokens[1][0]]
    ended = baseline.generate(tmp_path, prompts, 6, 1, ends, batch_size=3)
    assert ended.tokens == [alone(prompt, ends) for prompt in prompts]
    for prompt, answer, logprobs in zip(prompts, ended.tokens, ended.logprobs, strict=True):
        known = likelihood(prompt, answer)
        assert logprobs == pytest.approx(known, abs=1e-5, nan_ok=True)
    # The second prompt's first choice is an end of text, which is forbidden there.
    assert math.isnan(ended.logprobs[1][0])


@pytest.mark.process
def test_reference_engine_samples_by_its_seed(tmp_path: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2)
    heads = dict(num_attention_heads=2, num_key_value_heads=1)
    LlamaForCausalLM(LlamaConfig(vocab_size=300, **shape, **heads)).save_pretrained(tmp_path)

    def tokens(seed: int) -> list[list[int]]:
        sampling = Sampling(temperature=1.0, seed=seed)
        prompts = [[3, 1, 4], [3, 1, 4]]
        return baseline.generate(
            tmp_path, prompts, 6, 1, [], batch_size=1, sampling=sampling
        ).tokens

    one = tokens(1)
    assert one == tokens(1)
    assert one[0] != one[1]
    assert one != tokens(2)


def judged(values: list[float], **changed: object) -> AccuracyVerdict:
    """The verdict on 64 samples with these scores (0 to 1) of each kind."""
    reference = [0.2, 0.4, 0.6, 0.8] * 16
    stored = stored_baseline(
        score=Score(**BASELINE_SCORE | dict.fromkeys(ROUGE_NAMES, 50.0)),
        samples=dict.fromkeys(ROUGE_NAMES, reference),
    )
    frame = pd.DataFrame(dict.fromkeys(ROUGE_NAMES, values))
    means = dict.fromkeys(ROUGE_NAMES, float(frame["rouge1"].mean()) * 100)
    score = Score(**BASELINE_SCORE | means | changed)
    return scores.baseline_verdict(SCORER, score, stored, frame)


def test_chance_is_told_from_loss() -> None:
    # The same loss everywhere is no chance: paired, it has no spread.
    verdict = judged([0.18, 0.36, 0.54, 0.72] * 16)
    row = verdict.comparisons[0]
    assert verdict.status == "FAIL"
    assert (row.ratio_low, row.ratio_high) == pytest.approx((0.9, 0.9))
    assert scores.chance(SCORER, verdict) == (
        "This is not chance of these samples (ROUGE-1: 90.0 to 90.0 %, 98.75 % interval over "
        "samples, all below 99 %)."
    )
    assert scores.chance(SCORER, AccuracyVerdict(status="NO BASELINE", against="nothing")) == ""


def test_eight_answers_without_a_loss_seldom_fail() -> None:
    """The interval claims 0.6 %; by the percentiles of a bootstrap 2.6 % failed."""
    random, claimed = np.random.default_rng(0), 0.0125 / 2
    high = []
    for _ in range(1000):
        reference = random.beta(2, 6, 8)
        actual = reference + random.normal(0, 0.1, 8)
        high.append(clustered.mean(actual, reference, None, 1 - claimed).high)
    assert np.mean(np.array(high) < 0.99) <= 2 * claimed


def test_copies_of_a_question_do_not_narrow_the_interval() -> None:
    copies, reference = 8, [0.2, 0.4, 0.6, 0.8] * 4
    values = [0.3, 0.3, 0.6, 0.7] * 2 + [0.2, 0.5, 0.5, 0.8] * 2

    def interval(copies: int, cluster: bool = False) -> tuple[float, float] | None:
        stored = stored_baseline(samples=dict.fromkeys(ROUGE_NAMES, reference * copies))
        frame = pd.DataFrame(dict.fromkeys(ROUGE_NAMES, values * copies))
        if cluster:
            frame["cluster"] = list(range(len(values))) * copies
        score = Score(**BASELINE_SCORE)
        return scores.baseline_verdict(SCORER, score, stored, frame).comparisons[0].interval

    alone = interval(1)
    assert interval(copies, cluster=True) == pytest.approx(alone)
    narrow = interval(copies)
    assert narrow[1] - narrow[0] < (alone[1] - alone[0]) / 2


@pytest.mark.parametrize("shift", [0.0, -0.04])
def test_what_the_samples_cannot_tell_is_neither_passed_nor_failed(shift: float) -> None:
    """Above and below the limit of 0.99: the rule's own line stays, and is no verdict."""
    values = [0.2, 0.4, 0.6, 0.9 + shift] * 8 + [0.2, 0.4, 0.6, 0.7 + shift] * 8
    verdict = judged(values)
    row = verdict.comparisons[0]
    assert row.ratio_low < 0.99 < row.ratio_high
    assert (verdict.status, row.met) == ("INCONCLUSIVE", shift == 0)
    # The ratio's standard error is 0.05 / 0.5 / 8 = 0.0125, of which the interval takes 2.5 to
    # either side; 0.01 needs (2.5 * 0.0125 / 0.01)^2 = 9.8 times the samples.
    assert verdict.samples_needed == pytest.approx(64 * 9.8, rel=0.2)
    said = scores.chance(SCORER, verdict)
    assert said.startswith("The samples are too few to be sure (ROUGE-1: ")
    assert "98.75 % interval over samples); about " in said


def test_what_is_sure_is_said_whatever_the_samples() -> None:
    values = [0.2, 0.4, 0.6, 0.9] * 8 + [0.2, 0.4, 0.6, 0.7] * 8
    assert judged(values, gen_len=17999).status == "FAIL"
    assert judged([0.2, 0.4, 0.6, 0.8] * 16).status == "PASS"


def test_a_run_that_loses_nothing_seldom_fails() -> None:
    """Of engines whose answers differ by chance alone at most 5 % FAIL, where a fifth and more are
    below the limit."""
    import numpy as np

    generator = np.random.default_rng(0)
    reference = np.array([0.2, 0.4, 0.6, 0.8] * 16)
    found = [judged(list(reference + generator.normal(0, 0.06, 64))) for _ in range(100)]
    assert sum(verdict.status == "FAIL" for verdict in found) <= 5
    assert sum(not verdict.levels["99 %"] for verdict in found) >= 20


def test_an_old_verdict_is_read_as_it_was() -> None:
    old = {
        "status": "FAIL", "against": "the baseline", "comparisons": [
            {"metric": "rouge1", "actual": 35.2, "reference": 36.7, "ratio": 0.958, "required": "",
             "required_99_9": "", "met": False, "met_99_9": False, "ratio_low": 0.92,
             "ratio_high": 0.995}]}  # fmt: skip
    verdict = AccuracyVerdict.model_validate(old)
    assert (verdict.status, verdict.samples_needed) == ("FAIL", None)
    assert scores.chance(SCORER, verdict) == (
        "The samples are too few to be sure (ROUGE-1: 92.0 to 99.5 %, 95 % interval over samples)."
    )


def test_a_bound_is_seen_on_its_own_side_of_the_limit() -> None:
    shown = [
        scores._percent(ratio, 0.99) for ratio in (0.92, 0.98986, 0.9899, 0.98996, 0.99, 0.9901)
    ]
    assert shown == ["92.0", "98.99", "98.99", "98.996", "99.0", "99.01"]


# References without a token for ROUGE -----------------------------------------------------------
CHINESE = "建桥。"


@pytest.mark.parametrize(
    "reference", ["a", "7", "Ä b", "İ", "\u212a", CHINESE, "...", "Ω", "ñ", "é1", "ﬁ"]
)
def test_scorable_is_what_rouge_finds_a_token_in(reference: str) -> None:
    from rouge_score.tokenize import tokenize

    assert SCORER.scorable(reference) == bool(tokenize(reference, None))


def answered(answers: list[str], references: list[str]) -> pd.DataFrame:
    tokens = [[number] for number in range(len(answers))]
    return scores.score_tokens(
        tokens, {"reference": references}, lambda ids: [answers[i] for (i,) in ids], SCORER
    )


def held_against(answers: list[str], base: list[str], references: list[str]) -> AccuracyVerdict:
    """The verdict on answers, by a baseline that answered ``base``."""
    known, given = answered(base, references), answered(answers, references)
    stored = stored_baseline(
        score=SCORER.totals(known), samples={n: known[n].tolist() for n in ROUGE_NAMES}
    )
    return scores.baseline_verdict(SCORER, SCORER.totals(given), stored, given)


@pytest.mark.parametrize("answer", ["建桥。", "假的。", "abc"])
def test_a_baseline_of_0_never_passes(answer: str) -> None:
    verdict = held_against([answer] * 8, ["建桥。"] * 8, [CHINESE] * 8)
    assert verdict.status == "INCONCLUSIVE"
    assert True not in verdict.levels.values()
    assert [row.metric for row in verdict.undecided] == list(ROUGE_NAMES)
    assert not any(row.met or row.met_99_9 for row in verdict.undecided)
    assert verdict.samples_needed is None
    assert "ROUGE-1, ROUGE-2" in scores.undecided_text(SCORER, verdict)


def test_a_baseline_of_0_without_scores_by_sample_never_passes() -> None:
    score = Score(**BASELINE_SCORE | dict.fromkeys(ROUGE_NAMES, 0.0))
    assert (
        scores.baseline_verdict(SCORER, score, stored_baseline(score=score)).status
        == "INCONCLUSIVE"
    )
    nothing = Score(**BASELINE_SCORE | {"gen_len": 0})
    verdict = scores.baseline_verdict(SCORER, nothing, stored_baseline(score=nothing))
    assert (verdict.status, verdict.undecided[0].metric) == ("INCONCLUSIVE", "gen_len")


def test_another_length_still_fails() -> None:
    verdict = held_against(["假的回答太长了"] * 8, ["建桥。"] * 8, [CHINESE] * 8)
    assert verdict.status == "FAIL"
    assert scores.chance(SCORER, verdict) == ""


def test_references_of_one_word_leave_rouge2_open() -> None:
    verdict = held_against(["bridge"] * 8, ["bridge"] * 8, ["Bridge."] * 8)
    assert verdict.status == "INCONCLUSIVE"
    assert [row.metric for row in verdict.undecided] == ["rouge2"]


def test_a_baseline_that_scores_in_few_samples_never_passes() -> None:
    """One scorable reference of 16: a third of the draws have none, so there is no interval."""
    references = ["The town builds a bridge.", *[CHINESE] * 15]
    good = ["The town builds a bridge.", *["建桥。"] * 15]
    verdict = held_against(good, good, references)
    assert verdict.status == "INCONCLUSIVE"
    assert verdict.samples_needed is None
    assert "too few samples (ROUGE-1, ROUGE-2" in scores.chance(SCORER, verdict)


def test_unscorable_samples_do_not_move_the_verdict_on_the_others() -> None:
    words = ["The town builds a bridge.", "A school opens."] * 8
    fine = held_against([*words, "假的"] * 2, [*words, "建桥"] * 2, [*words, CHINESE] * 2)
    assert fine.status == "PASS"
    worse = [*["A bridge."] * 16, "建桥"] * 2
    assert held_against(worse, [*words, "建桥"] * 2, [*words, CHINESE] * 2).status == "FAIL"


def test_the_score_counts_unscorable_samples_as_mlcommons_does() -> None:
    samples = answered(["the cat", "猫"], ["the cat", "猫"])
    assert list(samples["scorable"]) == [True, False]
    assert SCORER.totals(samples)["rouge1"] == 50.0


def test_examples_are_of_samples_that_are_scored() -> None:
    samples = answered(["the cat", "猫", "a dog"], ["the cat", "猫", "the dog"])
    assert sorted(scores.sample_table(samples, [""] * 3, SUMMARIES)["sample_index"]) == [0, 2]
    nothing = answered(["猫"], ["猫"])
    assert len(scores.sample_table(nothing, [""], SUMMARIES)) == 1


def test_how_many_references_cannot_be_scored() -> None:
    assert scores.unscorable_text(SCORER, None, 8) == scores.unscorable_text(SCORER, 0, 8) == ""
    assert scores.unscorable_text(SCORER, 2, 8).startswith("ROUGE cannot score 2 of 8 references")
    assert scores.unscorable_text(SCORER, 8, 8).startswith("ROUGE cannot score any reference")

from helpers import RESULT, imitated, make_records, seed_records

from loadgen_study.report.figures import queries


def said(test, place=0):
    """What stands over a distribution of what a test is judged by: its marks and its limit."""
    return queries.judged_latencies(test).chart["hconcat"][place]["title"]["subtitle"]


def test_the_limit_is_drawn_where_there_is_one():
    assert said(imitated(seed_records()))[-1] == "limit 2,000 ms"
    offline = imitated(seed_records(), {**RESULT, "scenario": "Offline"})
    assert queries.limit_of(offline, "ttft") == (0.0, None)


def judged_at(share, scenario="Server", queries=64):
    """A test of so many queries, their TTFT 200 ms and up, judged at this percentile."""
    rows = [(i, i, i, i + 0.2 + i / 1e3, i + 2, 9, 11) for i in range(queries)]
    settings = RESULT["effective_settings"] | {"target_latency_percentile": share}
    changes = {"scenario": scenario, "effective_settings": settings}
    return imitated(make_records(rows), RESULT | changes)


def test_the_percentile_that_is_judged_is_marked_beside_the_limit():
    test = judged_at(0.8)
    (mark,) = [mark for mark in queries.marks(test, "ttft") if mark.judged]
    # The 52nd of 64, as LoadGen counts.
    assert (mark.label, mark.at_ms) == ("p80", 251)
    assert mark.at_ms < mark.upper_ms <= 263
    assert said(test) == ["p50 232 ms (at most 241 ms)",
                          f"p80 251 ms (at most {mark.upper_ms:.0f} ms), judged",
                          "limit 2,000 ms, off to the right"]  # fmt: skip
    caption = queries.distribution_caption(test, "ttft")
    assert "0 of 64 queries over the limit of 2,000 ms, judged at p80;" in caption


def test_a_percentile_that_lacks_queries_is_not_marked():
    test = judged_at(0.99)
    assert [mark.label for mark in queries.marks(test, "ttft")] == ["p50", "max"]
    assert "p99" not in "".join(said(test))


def test_single_stream_is_judged_by_the_latency_of_a_query():
    test = judged_at(0.9, "SingleStream")
    (panel,) = queries.judged_latencies(test).chart["hconcat"]
    assert panel["title"]["text"] == "Latency of a query"
    assert "p90" in said(test)[1]
    caption = queries.distribution_caption(test, "latency")
    assert "judged at p90, no limit;" in caption
    assert "not judged" in queries.distribution_caption(test, "ttft")
    assert not any(mark.judged for mark in queries.marks(test, "ttft"))
    first, *_ = queries.over_test(test).chart["vconcat"]
    titles = [panel["title"]["text"] for panel in first["hconcat"]]
    assert titles == ["Time to first token", "Time per output token"]


def test_waiting_is_not_drawn_as_prefill_when_the_engine_does_not_tell():
    *_, timeline = queries.over_test(imitated(seed_records(started=False))).chart["vconcat"]
    parts = timeline["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert parts == ["queue + prefill", "decode"]


def test_captions_say_what_is_to_be_seen():
    test = imitated(seed_records())
    # Waits of 0.941 i s: all but the first three of 20 have their first token after 2 s.
    assert "18 of 20 queries over the limit of 2,000 ms" in queries.distribution_caption(
        test, "ttft"
    )
    assert queries.load_caption(test) == "At most 8 queries in the system, 7 waiting."
    assert queries.lengths_caption(test).startswith("Prompts: 778 tokens.")
    # 0.941 * 190 s of queue, 20 times 0.13 s and 2.811 s: 75 %, 1 % and 24 %.
    assert "75 % queue, 1 % prefill, 24 % decode" in queries.timeline_caption(test)
    assert "does not report" in queries.timeline_caption(imitated(seed_records(started=False)))


def test_the_tail_is_marked_as_far_as_the_queries_carry_it():
    def marked(number):
        rows = [(i, i, i, i + 0.2 + i / 1e4, i + 2, 9, 5) for i in range(number)]
        test = imitated(make_records(rows), {**RESULT, "scenario": "Offline"})
        return [mark.says for mark in queries.marks(test, "ttft")]

    assert marked(10) == ["maximum 201 ms"]
    assert marked(64) == ["p50 203 ms (at most 204 ms)", "p90 206 ms (at most 206 ms)"]
    assert marked(662)[1].startswith("p99 266")


def test_ttft_is_drawn_by_the_length_of_the_prompt():
    *_, points = queries.lengths(imitated(seed_records())).chart["hconcat"]
    fields = [points["encoding"][axis]["field"] for axis in "xy"]
    assert fields == ["prompt_tokens", "ttft_ms"]

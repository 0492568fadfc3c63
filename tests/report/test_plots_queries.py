import pytest
from helpers import RESULT, draws, imitated, make_records, seed_records

from loadgen_study.report import plots_queries as plots

MANY = make_records([(i * 0.01, i * 0.01, None, i * 0.01 + 0.1, i * 0.01 + 1, 9, 5)
                     for i in range(3000)])  # fmt: skip
ONE = make_records([(0, 0, 0, 0.1, 0.1, 9, 1)])
UNFINISHED = make_records([(0, 0, 0, 0.1, 1.0, 9, 5), (1, 1, None, None, None, 9, 0)])
# Panels of the overview.
TTFT, TIMELINE = 0, 4


def panel(test, place):
    return plots.overview(test, "title").axes[place]


def labels(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


@pytest.mark.parametrize("records", [seed_records(), MANY, ONE, UNFINISHED],
                         ids=["seed", "many", "one", "unfinished"])  # fmt: skip
@pytest.mark.parametrize("scenario", ["Server", "Offline", "SingleStream"])
def test_every_figure_draws_every_kind_of_run(records, scenario):
    test = imitated(records, {**RESULT, "scenario": scenario})
    figures = [plots.overview(test, "title"), plots.queries_figure(test), plots.arrivals(test),
               plots.lengths(test)]  # fmt: skip
    if scenario != "Offline":
        figures.append(plots.judged_figure(test))
    assert all(map(draws, figures))


def test_the_limit_is_drawn_where_there_is_one():
    def of(scenario):
        return labels(panel(imitated(seed_records(), {**RESULT, "scenario": scenario}), TTFT))

    assert "limit 2,000" in of("Server")
    assert "limit 2,000" not in of("Offline")


def judged_at(share, scenario="Server", queries=64):
    """A test of so many queries, their TTFT 200 ms and up, judged at this percentile."""
    rows = [(i, i, i, i + 0.2 + i / 1e3, i + 2, 9, 11) for i in range(queries)]
    settings = RESULT["effective_settings"] | {"target_latency_percentile": share}
    changes = {"scenario": scenario, "effective_settings": settings}
    return imitated(make_records(rows), RESULT | changes)


def test_the_percentile_that_is_judged_is_marked_beside_the_limit():
    test = judged_at(0.8)
    (mark,) = [mark for mark in plots.marks(test, "ttft") if mark.judged]
    # The 52nd of 64, as LoadGen counts.
    assert (mark.label, mark.at_ms) == ("p80", 251)
    assert mark.at_ms < mark.upper_ms <= 263
    ttft, tpot = plots.judged_figure(test).axes
    assert labels(ttft) == ["p50 232 (at most 241)", f"p80 251 (at most {mark.upper_ms:.0f})",
                            "limit 2,000, off to the right"]  # fmt: skip
    assert tpot.get_xlabel() == "TPOT, ms"
    caption = plots.distribution_caption(test, "ttft")
    assert "0 of 64 are over the limit of 2,000 ms, which is judged at p80." in caption


def test_a_percentile_that_lacks_queries_is_not_marked():
    test = judged_at(0.99)
    assert [mark.label for mark in plots.marks(test, "ttft")] == ["p50", "max"]
    assert "p99" not in "".join(labels(plots.judged_figure(test).axes[0]))


def test_single_stream_is_judged_by_the_latency_of_a_query():
    test = judged_at(0.9, "SingleStream")
    (axis,) = plots.judged_figure(test).axes
    assert (axis.get_title(), axis.get_xlabel()) == ("Latency of a query", "latency, ms")
    assert "p90" in labels(axis)[1]
    caption = plots.distribution_caption(test, "latency")
    assert caption.endswith("; judged at p90, without a limit.")
    assert plots.distribution_caption(test, "ttft").endswith("; no limit applies.")
    assert not any(mark.judged for mark in plots.marks(test, "ttft"))
    titles = [axis.get_title() for axis in plots.queries_figure(test).axes]
    assert titles[:2] == ["Time to first token", "Time per output token"]


def test_the_timeline_parts_add_up_to_the_latency():
    axis = panel(imitated(make_records([(0.0, 0.0, 0.5, 1.0, 3.0, 9, 5)])), TIMELINE)
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([0.5, 0.5, 2.0])


def test_values_that_are_all_but_equal_draw():
    # As an echo engine gives them: apart by less than a histogram can divide.
    values = make_records([(i, i, i, i + 0.2, i + 2 + i * 1e-9, 9, 91) for i in range(15)])
    assert draws(plots.overview(imitated(values), "title"))


def test_waiting_is_not_drawn_as_prefill_when_the_engine_does_not_tell():
    axis = panel(imitated(seed_records(told=False)), TIMELINE)
    assert labels(axis) == ["queue + prefill", "decode"]


def test_captions_say_what_is_to_be_seen():
    test = imitated(seed_records())
    # Waits of 0.941 i s: all but the first three of 20 have their first token after 2 s.
    assert "18 of 20 are over the limit of 2,000 ms" in plots.distribution_caption(test, "ttft")
    caption = "At most 8 queries were in the system at once; at most 7 waited."
    assert plots.load_caption(test) == caption
    assert plots.lengths_caption(test).startswith("Prompts have 778 to 778 tokens (mean 778)")
    # 0.941 * 190 s of queue, 20 times 0.13 s and 2.811 s: 75 %, 1 % and 24 %.
    assert "75% is queue, 1% prefill and 24% decode" in plots.timeline_caption(test)
    assert "does not tell" in plots.timeline_caption(imitated(seed_records(told=False)))


def test_the_tail_is_marked_as_far_as_the_queries_carry_it():
    def marked(queries):
        rows = [(i, i, i, i + 0.2 + i / 1e4, i + 2, 9, 5) for i in range(queries)]
        test = imitated(make_records(rows), {**RESULT, "scenario": "Offline"})
        return labels(panel(test, TTFT)), plots.distribution_caption(test, "ttft")

    few, _ = marked(10)
    assert few == ["max 201"]
    default, caption = marked(64)
    assert default == ["p50 203 (at most 204)", "p90 206 (at most 206)"]
    assert "p90 206 ms (at most 206 ms), maximum 206 ms" in caption
    assert "p99" not in caption
    assert marked(662)[0][1].startswith("p99 266")

import io

import pytest
from helpers import RESULT, make_records, seed_records

from vllm_loadgen.report import plots_queries as plots

MANY = make_records([(i * 0.01, i * 0.01, None, i * 0.01 + 0.1, i * 0.01 + 1, 9, 5)
                     for i in range(3000)])  # fmt: skip
ONE = make_records([(0, 0, 0, 0.1, 0.1, 9, 1)])
UNFINISHED = make_records([(0, 0, 0, 0.1, 1.0, 9, 5), (1, 1, None, None, None, 9, 0)])


@pytest.mark.parametrize("records", [seed_records(), MANY, ONE, UNFINISHED],
                         ids=["seed", "many", "one", "unfinished"])  # fmt: skip
@pytest.mark.parametrize("scenario", ["Server", "Offline"])
def test_every_figure_draws_every_kind_of_run(records, scenario):
    result = {**RESULT, "scenario": scenario}
    figures = [
        plots.overview(records, result, "title"),
        plots.latency_distributions(records, result),
        plots.load_and_latency(records),
        plots.timeline(records),
        plots.lengths(records),
    ]
    for figure in figures:
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=40)
        assert image.getvalue().startswith(b"\x89PNG")


def test_the_limit_is_drawn_where_there_is_one():
    def labels(scenario):
        figure = plots.latency_distributions(seed_records(), {**RESULT, "scenario": scenario})
        return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]

    assert "limit 2,000" in labels("Server")
    assert "limit 2,000" not in labels("Offline")


def test_the_timeline_parts_add_up_to_the_latency():
    figure = plots.timeline(make_records([(0.0, 0.0, 0.5, 1.0, 3.0, 9, 5)]))
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx([0.5, 0.5, 2.0])


def test_values_that_are_all_but_equal_draw():
    # As an echo engine gives them: apart by less than a histogram can divide.
    values = make_records([(i, i, i, i + 0.2, i + 2 + i * 1e-9, 9, 91) for i in range(15)])
    plots.overview(values, RESULT, "title").savefig(io.BytesIO(), format="png", dpi=40)


def test_waiting_is_not_drawn_as_prefill_when_the_engine_does_not_tell():
    figure = plots.timeline(seed_records(told=False))
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["queue + prefill", "decode"]


def test_captions_say_what_is_to_be_seen():
    found = plots.captions(seed_records(), RESULT)
    # Waits of 0.941 i s: all but the first three of 20 have their first token after 2 s.
    assert "18 of 20 are over the limit of 2,000 ms" in found["latency_distributions"]
    assert "0.5 queries/s arrived and 0.316 were completed" in found["load_and_latency"]
    assert found["lengths"].startswith("Prompts have 778 to 778 tokens (mean 778)")
    # 0.941 * 190 s of queue, 20 times 0.13 s and 2.811 s: 75 %, 1 % and 24 %.
    assert "75% is queue, 1% prefill and 24% decode" in found["timeline"]
    assert "does not tell" in plots.captions(seed_records(told=False), RESULT)["timeline"]

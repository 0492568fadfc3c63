"""What a notebook shows of a test that runs."""

import json

import pytest

from loadgen_study.runs import curves
from vllm_loadgen.harness.messages import Progress


class Shown:
    """In place of IPython's display."""

    def __init__(self):
        self.bundles = []

    def __call__(self, bundle, **options):
        assert options["raw"]
        self.bundles.append(bundle)
        return self

    def update(self, bundle, **_):
        self.bundles.append(bundle)


@pytest.fixture
def shown(monkeypatch):
    import IPython.display

    shown, clock = Shown(), iter(range(10_000))
    monkeypatch.setattr(IPython.display, "display", shown)
    monkeypatch.setattr(curves, "in_notebook", lambda: True)
    monkeypatch.setattr(curves.time, "monotonic", lambda: float(next(clock)))
    return shown.bundles


def test_curves_grow_and_are_gone_at_the_end(shown):
    with curves.Curves() as live:
        live.add(Progress(8, 2, 100, 40.0))
        live.add(Progress(9, 5, 250, 50.0))
    *_, last, after = shown
    points = last[curves.MIME]["data"]["values"]
    assert [point["queries in flight"] for point in points] == [6, 4]
    assert [point["tokens/s"] for point in points] == [100, 150]
    assert after == {"text/plain": ""}


def test_what_is_sent_stays_small_however_long_the_test(shown):
    with curves.Curves() as live:
        for number in range(3000):
            live.add(Progress(number, number, 10 * number, 12.345))
    sizes = [len(json.dumps(bundle)) for bundle in shown]
    assert max(sizes) < 20_000
    assert len(shown[-2][curves.MIME]["data"]["values"]) > curves.MOST_POINTS // 2


def test_there_are_none_outside_of_a_notebook(monkeypatch):
    monkeypatch.setattr(curves.Curves, "_show", lambda *_: pytest.fail("shown"))
    monkeypatch.setattr(curves, "INTERVAL_S", 0.0)
    with curves.Curves() as live:
        live.add(Progress(1, 0, 0))

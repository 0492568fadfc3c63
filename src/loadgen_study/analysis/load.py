"""How many queries were where, and whether a queue grew."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd


def load_over_time(frame: pd.DataFrame, points: int = 200) -> pd.DataFrame:
    """How many queries were where, at ``points`` instants over the test.

    Returns:
        (points,) time_s, arrived, completed, waiting (no prefill yet; no first token yet where the
        start of prefill is not known), in_flight (arrived and not completed).
    """
    return _counts(frame, np.linspace(0, max(_end_s(frame), 1e-9), points))


def _counts(frame: pd.DataFrame, time_s: np.ndarray) -> pd.DataFrame:
    """The columns of ``load_over_time`` at these instants."""
    begun = frame["started_s"].fillna(frame["first_token_s"]).fillna(frame["done_s"])

    def count(times: pd.Series) -> np.ndarray:
        return np.searchsorted(np.sort(times.dropna()), time_s, side="right")

    arrived, completed = count(frame["scheduled_s"]), count(frame["done_s"])
    return pd.DataFrame(
        {
            "time_s": time_s,
            "arrived": arrived,
            "completed": completed,
            "waiting": np.maximum(arrived - count(begun), 0),
            "in_flight": arrived - completed,
        }
    )


def _end_s(frame: pd.DataFrame) -> float:
    """The last thing that happened, s; 0 without queries."""
    last = frame[["scheduled_s", "first_token_s", "done_s"]].max().max()
    return 0.0 if math.isnan(last) else float(last)


@dataclass(frozen=True)
class Load:
    """Rates and queue over the time in which queries arrived."""

    arrivals_per_s: float  # ``Metrics.due_per_s``; infinite if all came at once
    completions_per_s: float  # while they arrived, unlike ``Metrics.samples_per_s``
    served_per_s: float  # completions over the time in which the system was not idle
    queue_growth_per_s: float  # least-squares slope of queries in the system while they arrived
    peak_in_flight: float  # queries in the system
    peak_waiting: float  # before prefill
    peak_served: float  # in the engine at once
    mean_served: float  # see ``mean_served``
    serial_share: float  # of that time, in which queries waited while exactly one was served
    window_s: float  # first to last arrival
    fastest_s: float  # least latency
    # See ``_rise_s``.
    latency_rise_s: float
    queue_rise_s: float


def load_of(frame: pd.DataFrame) -> Load:
    """Whether the queue grows; counts are taken at every event, so that any peak is seen."""
    window_s = float(frame["scheduled_s"].max()) if len(frame) else 0.0
    slope = 0.0
    if window_s > 0 and len(frame) > 2:
        arriving = _counts(frame, np.linspace(0, window_s, 400))
        slope = float(np.polyfit(arriving["time_s"], arriving["in_flight"], 1)[0])
    done_by_then = int((frame["done_s"] <= window_s).sum())
    end_s = _end_s(frame)
    states = _states(frame)
    busy_s = _busy_s(states)
    behind_one = (states["served"] == 1) & (states["waiting"] > 0)
    peaks = states.max().fillna(0)
    return Load(
        arrivals_per_s=(len(frame) - 1) / window_s if window_s > 0 else math.inf,
        completions_per_s=done_by_then / window_s if window_s > 0 else 0.0,
        served_per_s=float(frame["done_s"].count()) / busy_s if busy_s else 0.0,
        queue_growth_per_s=slope,
        peak_in_flight=float(peaks["in_flight"]),
        peak_waiting=float(peaks["waiting"]),
        peak_served=float(peaks["served"]),
        mean_served=mean_served(frame),
        serial_share=float(states["lasted_s"][behind_one].sum()) / busy_s if busy_s else 0.0,
        window_s=window_s,
        fastest_s=float(frame["latency_ms"].min()) / 1e3,
        # An unanswered query has waited until the end at least.
        latency_rise_s=_rise_s(frame["done_s"].fillna(end_s) - frame["scheduled_s"]),
        queue_rise_s=_rise_s(frame["queue_ms"] / 1e3),
    )


def mean_served(frame: pd.DataFrame, begin_s: float = 0.0, end_s: float = math.inf) -> float:
    """Queries in the engine at once: their mean over the time with a query in the system.

    The one definition of a mean batch: of the whole test, or of a part of it. 0 without a query.
    """
    states = _states(frame, begin_s, end_s)
    busy_s = _busy_s(states)
    return float((states["served"] * states["lasted_s"]).sum()) / busy_s if busy_s else 0.0


def _busy_s(states: pd.DataFrame) -> float:
    return float(states["lasted_s"][states["in_flight"] > 0].sum())


def _states(
    frame: pd.DataFrame, begin_s: float = -math.inf, end_s: float = math.inf
) -> pd.DataFrame:
    """The columns of ``load_over_time`` after each event of this time; the last one ends the test.

    Also served (queries in the engine) and lasted_s (until the next event).
    """
    events = frame[["scheduled_s", "started_s", "first_token_s", "done_s"]].to_numpy().ravel()
    known = events[~np.isnan(events)]
    load = _counts(frame, np.unique(np.clip(known, begin_s, end_s)))
    last_s = load["time_s"].max() if len(load) else 0.0
    served = load["in_flight"] - load["waiting"]
    return load.assign(served=served, lasted_s=np.diff(load["time_s"], append=last_s))


def _rise_s(values: pd.Series) -> float:
    """By how much the last third of the queries exceeds the middle third on average.

    The first third is left out: it finds an empty system, so latencies rise there in any run.
    Above capacity they go on rising: arrivals at rate a for T s, served at rate c, give a rise of
    (a / c - 1) T / 3 between these thirds.
    """
    third = len(values) // 3
    if not third:
        return math.nan
    return float(values.iloc[-third:].mean() - values.iloc[third : 2 * third].mean())


class Busy:
    """When queries were in the system.

    Args:
        end_s: until when is counted.
    """

    def __init__(self, frame: pd.DataFrame, end_s: float) -> None:
        known = frame[frame["issued_s"] < end_s].sort_values("issued_s")
        begin = known["issued_s"].clip(lower=0).to_numpy(float)
        end = np.maximum.accumulate(known["done_s"].fillna(end_s).clip(upper=end_s).to_numpy(float))
        # A stretch without a query lies where all that came before are done.
        empty = np.flatnonzero(begin[1:] > end[:-1])
        self._begin = np.append(begin[:1], begin[empty + 1])
        self._end = np.append(end[empty], end[-1:])
        self.all_s = float((self._end - self._begin).sum())

    def until(self, time_s: np.ndarray) -> np.ndarray:
        """Seconds with a query in the system until each of these times, which rise."""
        spent = np.append(0.0, np.cumsum(self._end - self._begin))
        known = np.stack([self._begin, self._end], axis=1).ravel()
        at: np.ndarray = np.interp(time_s, known, np.repeat(spent, 2)[1:-1])
        return at

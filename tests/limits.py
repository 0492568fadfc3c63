"""The oracle of the sliders: a test judged by other limits than its own, in Python."""

from dataclasses import dataclass

import pandas as pd

from loadgen_study.analysis.early_stopping import violations_allowed
from loadgen_study.analysis.metrics import kept_share


@dataclass(frozen=True)
class Outcome:
    """What limits on TTFT and TPOT come to.

    Attributes:
        within_ttft, within_tpot, within_both: shares of all queries, 0 to 1.
        over_ttft, over_tpot: queries over a limit, as LoadGen counts them.
        allowed: the most of them that its early stopping accepts, of each; -1 if none will do.
    """

    within_ttft: float
    within_tpot: float
    within_both: float
    over_ttft: int
    over_tpot: int
    allowed: int

    @property
    def kept(self) -> bool:
        """Whether early stopping accepts the test: TTFT and TPOT pass each by itself."""
        return max(self.over_ttft, self.over_tpot) <= self.allowed


def outcome(frame: pd.DataFrame, ttft_ms: float, tpot_ms: float, share: float) -> Outcome:
    """A test by these limits, at this percentile.

    Args:
        frame: of ``metrics.latencies``. ttft_ms, tpot_ms: above 0. share: 0.99 for p99.
    """
    return Outcome(
        within_ttft=kept_share(frame, {"ttft": ttft_ms}),
        within_tpot=kept_share(frame, {"tpot": tpot_ms}),
        within_both=kept_share(frame, {"ttft": ttft_ms, "tpot": tpot_ms}),
        over_ttft=int((frame["ttft_ms"] > ttft_ms).sum()),
        over_tpot=int((frame["tpot_ms"] > tpot_ms).sum()),
        allowed=violations_allowed(len(frame), share),
    )

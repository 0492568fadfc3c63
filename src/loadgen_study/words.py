"""Numbers as a reader would say them, and texts as one can see them."""

from collections.abc import Sequence

# Control characters but tab and line ends.
_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(9), 11, 12, *range(14, 32), 127)}


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 query", "1,200 queries"."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def listed(things: Sequence[object], most: int = 10) -> str:
    """The first of some things, and how many more there are: "1, 2 and 7 more"."""
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(map(str, things[:most])) + more


def per_s(rate: float, digits: int = 3) -> str:
    """A rate of queries: "1 query/s", "0.46 queries/s", "1,310 queries/s"."""
    said = f"{rate:,.0f}" if rate >= 10**digits else f"{rate:.{digits}g}"
    return f"{said} {'query' if said == '1' else 'queries'}/s"


def say_ms(value_ms: float) -> str:
    """A time as a reader would say it: 1.3 ms, 735 ms, 50.2 s."""
    if value_ms >= 1e4:
        return f"{value_ms / 1e3:,.1f} s"
    return f"{value_ms:,.0f} ms" if value_ms >= 100 else f"{value_ms:.3g} ms"


def significant(value: float, digits: int = 3) -> str:
    """A number to so many digits: 0.0123, 52.7, 1,310."""
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def fixed(value: float, digits: int = 1) -> str:
    """A number with so many digits after the point: 4.8, 1,310.0."""
    return f"{value:z,.{digits}f}"


def percent(share: float, digits: int = 0) -> str:
    """A share as percent, with the space that SI requires: "28 %", "99.6 %"."""
    return f"{share * 100:z.{digits}f} %"


def change(share: float) -> str:
    """A relative change as percent: "+5.1 %"."""
    return f"{share * 100:+z.1f} %"


def visible(text: str) -> str:
    """A text whose control characters are seen and not obeyed: an answer may hold ANSI escapes."""
    return text.translate(_CONTROLS)


def say_duration(seconds: float) -> str:
    """How long something takes, for planning: 40 s, 12 min, 3.7 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"

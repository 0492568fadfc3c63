"""Text from templates: Markdown and HTML by Jinja2, each next to the module of its numbers."""

import html
import math
import re
from collections.abc import Callable
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from loadgen_study.words import (
    change,
    count,
    fixed,
    per_s,
    percent,
    say_duration,
    say_ms,
    significant,
    visible,
)

# Lines that begin with these are items, quotes, headings, table rows or HTML of their own.
_OWN_LINE = re.compile(r"\s*([-*>#|<]|\d+\. )")


def plain(text: object) -> str:
    """Text from a file, such as a dataset's name, with Markdown's and HTML's marks escaped."""
    escaped = html.escape(visible(" ".join(str(text).split())), quote=False)
    # An underscore within a word is one.
    return re.sub(r"([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", escaped)


def render(template: str, **numbers: object) -> str:
    """Fill a template; empty if nothing but whitespace comes out.

    A string that a template prints is escaped, unless it is ``markdown``.

    Args:
        template: its file below this package without ``.md.j2``: "report/sections/throughput".

    Raises:
        jinja2.UndefinedError: if the template needs a number that is not given.
    """
    text = _environment(_printed).get_template(f"{template}.md.j2").render(numbers)
    blocks = (_joined(block) for block in re.split(r"\n\s*\n", text.strip()))
    return "\n\n".join(block for block in blocks if block)


def fragment(template: str, **values: object) -> Markup:
    """Fill a template of HTML; a string that it prints is escaped, unless it is ``Markup``.

    Args:
        template: its file below this package without ``.html.j2``.

    Raises:
        jinja2.UndefinedError: if the template needs a value that is not given.
    """
    environment = _environment(_seen, autoescape=True)
    return Markup(environment.get_template(f"{template}.html.j2").render(values))


def markdown(text: str) -> Markup:
    """Text that is Markdown already: it is printed as it is."""
    return Markup(text)


@cache
def _environment(printed: Callable[[object], object], autoescape: bool = False) -> Environment:
    """With ``autoescape`` HTML is escaped; ``_printed`` escapes by Markdown's rules."""
    environment = Environment(
        loader=PackageLoader("loadgen_study", ""),
        autoescape=autoescape,
        finalize=printed,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    filters: dict[str, Callable[..., object]] = {
        "change": change, "count": count, "duration": say_duration, "fixed": fixed, "ms": say_ms,
        "per_s": per_s, "percent": percent, "significant": significant, "markdown": markdown,
    }  # fmt: skip
    environment.filters |= filters
    environment.tests["known"] = lambda value: value is not None and not math.isnan(value)
    return environment


def _printed(value: object) -> object:
    """What a template prints: text escaped, its outer spaces kept; nothing for None."""
    if value is None:
        return ""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return f"{' ' * value.startswith(' ')}{plain(value)}{' ' * value.endswith(' ')}"


def _seen(value: object) -> object:
    """What a template of HTML prints: text with its control characters seen."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _joined(block: str) -> str:
    """A paragraph on one line; items, quotes and rows keep theirs."""
    lines: list[str] = []
    for line in filter(str.strip, block.splitlines()):
        if lines and not _OWN_LINE.match(line):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line.rstrip() if _OWN_LINE.match(line) else line.strip())
    return "\n".join(lines)

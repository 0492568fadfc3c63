"""A text in every encoding that a run's files use, as one regular expression.

Plain, percent-encoded (URLs), JSON and Python escapes, HTML entities, shell quotes, and one in
another: JSON in HTML, HTML in a notebook's JSON, all of that in the URL of a report's download.
"""

import functools
import os
import re
from html.entities import codepoint2name

_PERCENT = "%(?:25)*"
_BACKSLASH = rf"(?:\\|{_PERCENT}5[Cc])"
_HASH = f"(?:#|{_PERCENT}23)"
_SEMICOLON = f"(?:;|{_PERCENT}3[Bb])"
_AMPERSAND = rf"(?:(?:&|{_PERCENT}26|{_BACKSLASH}+u0026)(?:amp{_SEMICOLON})*)"
_APOSTROPHE = {ord("'"): "apos"}


def spelled(text: str) -> str:
    """A pattern that matches ``text`` in any encoding."""
    return "".join(map(_character, re.sub(r"\s+", " ", text)))


@functools.cache
def _character(char: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_.~-]", char):
        return re.escape(char)  # the same in every encoding
    forms = _forms(char)
    if char.isspace():
        # YAML breaks a long line at a blank, also where a notebook holds YAML.
        line_end = rf"{_BACKSLASH}+[nrt]|{_PERCENT}0[ADad]"
        return rf"(?:\s|\+|{line_end}|{forms})+"
    if char == "'":
        # Closed and opened again, as a shell needs it ('"'"' or '\''), or doubled, as YAML does.
        double = _forms('"')
        return rf"(?:(?:{forms})(?:{double})(?:{forms})(?:{double})(?:{forms})|(?:{forms}){{1,3}})"
    return f"(?:(?:{forms}){{1,2}})" if char == '"' else f"(?:{forms})"


def _forms(char: str) -> str:
    """The alternatives for one character that some encoding changes."""
    code = ord(char)
    percent = "".join(f"{_PERCENT}{_hex(byte, 2)}" for byte in os.fsencode(char))
    utf16 = char.encode("utf-16-be", "surrogatepass")
    units = [int.from_bytes(utf16[i : i + 2], "big") for i in range(0, len(utf16), 2)]
    names = [name for name in (codepoint2name.get(code), _APOSTROPHE.get(code)) if name]
    numbers = f"{_HASH}(?:0*{code}|[xX]0*{_hex(code)})"
    entity = f"{_AMPERSAND}(?:{'|'.join([*names, numbers])}){_SEMICOLON}"
    forms = [
        f"{_BACKSLASH}*(?:{re.escape(char)}|{percent}|{entity})",
        "".join(f"{_BACKSLASH}+u{_hex(unit, 4)}" for unit in units),
        f"{_BACKSLASH}+U{_hex(code, 8)}",
    ]
    return "|".join(forms + [f"{_BACKSLASH}+x{_hex(code, 2)}"] * (code < 256))


def _hex(number: int, digits: int = 1) -> str:
    """A number in hexadecimal digits of either case."""
    return "".join(
        f"[{digit}{digit.upper()}]" if digit.isalpha() else digit
        for digit in f"{number:0{digits}x}"
    )

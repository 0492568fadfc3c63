r"""Whether two formulas are equal, as far as their text alone decides it.

The reference takes openai/prm800k's grader (grading/grader.py, grading/math_normalize.py): texts
that normalize to the same are equal, and sympy evaluates the rest. Here nothing is evaluated:
numbers are compared as numbers; what only sympy or a LaTeX parser could decide is undecided.
"""

import importlib
import math
import re
from contextlib import suppress
from fractions import Fraction

# grader.py keeps these from sympy: only the same text is equal.
_NOT_EVALUATED = re.compile(r"\^\{|\^\(|\^[0-9]+\^|\^[0-9][0-9]+")
_MOST_LETTERS = 2
_WHOLE = "(?:0|[1-9][0-9]{0,8})"
_NUMBER = re.compile(rf"-?(?:{_WHOLE}(?:/[1-9][0-9]{{0,8}})?|{_WHOLE}?\.[0-9]{{1,6}})")
_FRACTION = re.compile(r"-?[0-9]+.?/0*[1-9][0-9]*.?$")
_LATEX_FRACTION = re.compile(r"(-?) *\\[td]?frac(\{[0-9]+\}|[0-9])(\{[0-9]+\}|[0-9])")
# Commands whose result is not read as an integer.
_NO_INTEGER = re.compile(r"\\(?:[td]?frac|sqrt|pi)(?![a-zA-Z])")
_TEXT = re.compile(r"^\\text\{(.+?)\}$")
_THOUSANDS = re.compile(r"(\d),(\d\d\d)($|\D)")
_UNITS = (
    "degree cm centimeter meter mile second minute hour day week month year foot feet inch yard"
)
_IN_BRACKETS = re.compile(r"[()[\]][^()[\]]+[()[\]]")
_SMALL_POWER = re.compile(r"\^(?:[a-z0-9]|\{[a-z]?[0-9]{0,2}\}|\{?\\circ\}?)")
_MOST_POWERS = 3


def equal(answer: str, reference: str) -> float:
    """1 if equal, 0 if not, NaN if text alone does not decide."""
    if as_math(answer) == as_math(reference):
        return 1.0
    one, other = as_grader(reference), as_grader(answer)
    if one is None or other is None:
        # Only an integer equals an integer, and no LaTeX parser turns a root into one.
        pairs = (one, answer), (other, reference)
        differ = any(text and _is_integer(text) and _NO_INTEGER.search(raw) for text, raw in pairs)
        return 0.0 if differ else math.nan
    if one == other:
        return 1.0
    if not other:
        return 0.0
    return _equal_elements(one, other)


def _equal_elements(reference: str, answer: str) -> float:
    """Compares two normalized texts that differ, tuples and intervals by element."""
    ones, others = _elements(reference), _elements(answer)
    brackets = reference[:1] + reference[-1:] != answer[0] + answer[-1]
    if len(ones) != len(others) or (len(ones) > 1 and brackets):
        return 0.0
    verdicts = [_equal_element(one, other) for one, other in zip(ones, others, strict=True)]
    if 0.0 in verdicts:
        return 0.0
    return math.nan if any(map(math.isnan, verdicts)) else float(bool(verdicts))


def _equal_element(reference: str, answer: str) -> float:
    if _FRACTION.match(reference) and _FRACTION.match(answer):
        return float(reference == answer)  # a fraction that is not reduced is wrong
    if _is_integer(reference) != _is_integer(answer):
        return 0.0
    expression = f"({reference})-({answer})"
    letters = set(filter(str.isalpha, expression.replace("sqrt", "").replace("frac", "")))
    if len(letters) > _MOST_LETTERS or _NOT_EVALUATED.search(expression):
        return 0.0
    if _NUMBER.fullmatch(reference) and _NUMBER.fullmatch(answer):
        return float(Fraction(reference) == Fraction(answer))
    return math.nan


def _elements(text: str) -> list[str]:
    text = _without_thousands(text)
    if _IN_BRACKETS.fullmatch(text):
        return [element.strip() for element in text[1:-1].split(",")]
    return [text] if text else []


def as_math(text: str) -> str:
    r"""Normalized as in math_normalize.py; where that fails, only \text{} is removed."""
    text = text.strip()
    if found := _TEXT.search(text):
        text = found[1].strip()
    try:
        return _plain_math(text)
    except ValueError:
        return text


def _plain_math(text: str) -> str:
    """
    Raises:
        ValueError: where the reference fails on a unit, a root or a fraction.
    """
    text = text.replace("\n", "").replace(r"\!", "").replace(r"\\", "\\")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac")
    for dropped in (r"\left", r"\right", r"^{\circ}", r"^\circ", r"\$"):
        text = text.replace(dropped, "")
    text, *units = text.split(r"\text{ ")
    if len(units) > 1:
        raise ValueError("several units")
    text = text.replace(r"\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if text.startswith("."):
        text = f"0{text}"
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0]) <= 2:
        text = sides[1]
    if re.search(r"\\sqrt(\\sqrt|\Z)", text):
        raise ValueError("a root of nothing")
    text = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", text).replace(" ", "")
    text = _braced_fractions(text)
    if text == "0.5":
        return r"\frac{1}{2}"
    return re.sub(r"^(0|-?[1-9][0-9]*)/(0|-?[1-9][0-9]*)\Z", r"\\frac{\1}{\2}", text)


def _braced_fractions(text: str) -> str:
    r"""\frac12 and \frac1{2} as \frac{1}{2}.

    Raises:
        ValueError: if nothing follows a \frac.
    """
    start, *parts = text.split(r"\frac")
    for place, part in enumerate(parts):
        if not part:
            raise ValueError("a fraction of nothing")
        if part[0] != "{":
            if len(part) < 2:
                return text
            below = part[1:] if part[1] == "{" else f"{{{part[1]}}}{part[2:]}"
            parts[place] = f"{{{part[0]}}}{below}"
    return r"\frac".join([start, *parts])


def as_grader(text: str) -> str | None:
    """Normalized as in grader.py; None if that takes a LaTeX parser."""
    if found := _TEXT.search(text):
        text = found[1]
    text = text.replace(r"\%", "%").replace(r"\$", "$").replace("$", "").replace("%", "")
    text = text.replace(" or ", " , ").replace(" and ", " , ")
    for word, power in (("million", 6), ("billion", 9), ("trillion", 12)):
        text = text.replace(word, f"*10^{power}")
    for unit in _UNITS.split():
        text = re.sub(rf"{unit}(es)?(s)? *(\^[0-9]+)?", "", text)
    text = re.sub(r"\^ *\\circ", "", text)
    if text[:1] == "{" and text[-1] == "}":
        text = text[1:-1]
    text = re.sub(r",\\! *", "", text)
    if _is_whole(text):
        text = str(round(float(text)))
    if "\\" in text:
        if not (fraction := _LATEX_FRACTION.fullmatch(text.strip())):
            return None
        text = "{}{}/{}".format(*fraction.groups())
    text = re.sub("([0-9]) +([0-9])", r"\1+\2", re.sub("- *", "-", text))
    text = text.replace(" ", "").replace("{", "").replace("}", "").lower()
    return str(int(float(text.replace(",", "")))) if _is_integer(text) else text


def _is_integer(text: str) -> bool:
    return _is_whole(_without_thousands(text))


def _is_whole(text: str) -> bool:
    try:
        value = float(text)
        return abs(value - round(value)) <= 1e-7
    except (ValueError, OverflowError):  # no number, not a number; infinity
        return False


def _without_thousands(text: str) -> str:
    while (shorter := _THOUSANDS.sub(r"\1\2\3", text)) != text:
        text = shorter
    return text


def verified(answer: str, reference: str) -> float:
    """1 if the package math-verify finds two formulas equal, 0 if not; unofficial.

    NaN without the package, on its timeout, and for powers and factorials that could exhaust
    memory. Only its LaTeX parser is used: the other one evaluates text as Python.
    """
    try:
        library = importlib.import_module("math_verify")
    except ImportError:
        return math.nan
    powers = _SMALL_POWER.sub("", answer)
    if "^" in powers or answer.count("^") > _MOST_POWERS or "!" in answer:
        return math.nan
    config = [library.LatexExtractionConfig()]
    with suppress(Exception):  # its own, its parser's, sympy's; a timeout
        one, other = (
            library.parse(rf"\boxed{{{text}}}", config, fallback_mode="no_fallback")
            for text in (reference, answer)
        )
        return float(library.verify(one, other, raise_on_error=True))
    return math.nan

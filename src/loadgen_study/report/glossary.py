"""The words of the report: one table, which README.md shows as well."""

from importlib import resources


def table() -> str:
    """The table, as Markdown."""
    return (resources.files("loadgen_study") / "embedded" / "words.md").read_text(encoding="utf-8")

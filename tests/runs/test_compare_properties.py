"""Notebooks that somebody sent, damaged: figures to compare come out, or one line of error."""

import json

import pytest
from damage import damaged_bytes, damaged_json, known_errors
from helpers import CONDITIONS
from hypothesis import given

from loadgen_study.runs.compare import FIGURES, MIME, changed_table, figures_table, read_digest

FOUND = {
    "schema_version": 1, "name": "one", "params": {"target_qps": 0.5, "chat_template": "on"},
    "verdict": "VALID", "rouge1": 30.0, "figures": {name: [2.0, 1.0, 3.0] for name in FIGURES},
    "conditions": CONDITIONS, "quantiles": {"ttft_ms": [1.0, 2.0]},
}  # fmt: skip
NOTEBOOK = {
    "nbformat": 4, "nbformat_minor": 5, "metadata": {},
    "cells": [
        {"id": "a", "cell_type": "code", "execution_count": 1, "metadata": {}, "source": "x",
         "outputs": [{"output_type": "display_data", "metadata": {}, "data": {MIME: FOUND}}]}
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("notebooks") / "sent.ipynb"


def read(path):
    found = read_digest(str(path))
    figures_table([found, found])
    changed_table([found, found.model_copy(update={"params": {}})])


@given(damaged_bytes(json.dumps(NOTEBOOK).encode()))
def test_a_notebook_with_other_bytes(path, content):
    path.write_bytes(content)
    with known_errors():
        read(path)


@given(damaged_json(NOTEBOOK))
def test_a_notebook_with_other_values(path, notebook):
    path.write_text(json.dumps(notebook))
    with known_errors():
        read(path)


@given(damaged_json(FOUND))
def test_figures_with_other_values(path, found):
    cell = NOTEBOOK["cells"][0]
    output = cell["outputs"][0] | {"data": {MIME: found}}
    path.write_text(json.dumps(NOTEBOOK | {"cells": [cell | {"outputs": [output]}]}))
    with known_errors():
        read(path)

import json

import nbformat
import pytest
from helpers import (
    RESULT,
    echo_params,
    make_records,
    write_articles,
    write_facts,
    write_test,
)

from vllm_loadgen import LiveRun, ParameterError, Run, RunParams
from vllm_loadgen.runs import compare
from vllm_loadgen.runs.compare import Digest

FIGURES = {
    "samples_per_s": (1.0, 0.9, 1.1),
    "tokens_per_s": (100.0, 90.0, 110.0),
    "ttft_ms": (200.0, 180.0, 220.0),
    "tpot_ms": (40.0, None, None),
    "latency_ms": (5000.0, 4000.0, 6000.0),
}


def run(name, rouge1=None, params=None, **figures):
    changed = {"target_qps": 0.5, "dtype": "bfloat16"} | (params or {})
    return Digest(
        name=name, params=changed, verdict="VALID", rouge1=rouge1, figures=FIGURES | figures
    )


def test_figures_side_by_side():
    other = run("b", 36.5, tokens_per_s=(150.0, 140.0, 160.0), ttft_ms=(210.0, 190.0, 230.0))
    table = compare.figures_table([run("a"), other])
    assert table.loc["Output tokens per second", "a"] == "100.0 [90.0, 110.0]"
    # Apart from the first's interval, or not.
    assert table.loc["Output tokens per second", "b"] == "150.0 [140.0, 160.0] (+50.0%*)"
    assert table.loc["Mean TTFT, ms", "b"] == "210 [190, 230] (+5.0%)"
    # Without an interval no difference is marked.
    assert table.loc["Mean TPOT, ms", "b"] == "40.0 (+0.0%)"
    assert table.loc["ROUGE-1"].tolist() == ["not scored", "36.50"]


def test_only_changed_parameters_are_listed():
    table = compare.changed_table([run("a"), run("a", params={"dtype": "float32"})])
    assert table.index.tolist() == ["dtype"]
    assert table.columns.tolist() == ["a (1)", "a (2)"]
    assert compare.changed_table([run("a"), run("b")]).empty


@pytest.fixture
def made(tmp_path):
    dataset = write_articles(tmp_path / "a.jsonl", 12)
    params = echo_params(dataset=str(dataset), outputs=str(tmp_path / "out"), run_name="r")
    with LiveRun.start(params) as run:
        run.perform("performance")
    return run.read()


@pytest.mark.process
def test_a_run_travels_in_its_notebook(made, tmp_path):
    digest = compare.digest(made)
    bundle = digest._repr_mimebundle_()
    json.dumps(bundle, allow_nan=False)  # a notebook is JSON
    output = nbformat.v4.new_output("display_data", bundle)
    cell = nbformat.v4.new_code_cell("x", outputs=[output])
    sent = tmp_path / "sent.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), sent)
    read = compare.read_digest(str(sent))
    assert read.params == digest.params
    table = compare.figures_table([compare.read_digest(str(made.folder)), read])
    assert "(+0.0%)" in table.loc["Output tokens per second", "r (2)"]


@pytest.mark.process
def test_what_is_no_run_is_one_error(made, tmp_path):
    empty = tmp_path / "empty.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), empty)
    with pytest.raises(ParameterError, match=r"runs = .*holds no figures of a run"):
        compare.read_digest(str(empty))
    with pytest.raises(ParameterError, match=r"runs = .*cannot be read"):
        compare.read_digest(str(tmp_path / "missing.ipynb"))
    (made.folder / "performance" / "result.json").unlink()
    with pytest.raises(ParameterError, match=r"runs = .*has no performance test"):
        compare.read_digest(str(made.folder))


def test_of_a_single_answer_no_interval_is_known(tmp_path):
    folder = write_facts(tmp_path / "run", RunParams())
    write_test(folder / "performance", RESULT, make_records([(0, 0, 0, 0.5, 1.0, 10, 5)]))
    figures = compare.digest(Run.open(folder)).figures
    assert figures["ttft_ms"] == (500.0, None, None)


def sent(path, digest):
    """A notebook that carries this."""
    output = nbformat.v4.new_output("display_data", {compare.MIME: digest, "text/plain": "x"})
    cell = nbformat.v4.new_code_cell("x", outputs=[output])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return str(path)


def test_notebooks_of_the_first_version_are_read(tmp_path):
    old = run("a", params={"chat_template": "on"}).model_dump(exclude={"schema_version"})
    read = compare.read_digest(sent(tmp_path / "old.ipynb", {**old, "name": ""}))
    assert read.params["chat_template"] is True
    assert read.name == "old"


def test_a_folder_that_a_sender_names_is_not_opened(tmp_path):
    digest = run("a").model_dump(exclude={"schema_version"})
    assert "folder" not in digest
    read = compare.read_digest(sent(tmp_path / "sent.ipynb", digest | {"folder": str(tmp_path)}))
    assert read.folder is None


@pytest.mark.parametrize("found", [{}, {"name": "x"}, [], 5, None, "no JSON"])
def test_figures_that_are_none_are_one_error(tmp_path, found):
    with pytest.raises(ParameterError, match=r"runs = .*holds no figures"):
        compare.read_digest(sent(tmp_path / "bad.ipynb", found))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "5", '{"cells": null}', '{"cells": [{"outputs": null}]}']
)
def test_a_file_that_is_no_notebook_is_one_error(tmp_path, text):
    path = tmp_path / "bad.ipynb"
    path.write_text(text)
    with pytest.raises(ParameterError, match=r"runs = .*(cannot be read|holds no figures)"):
        compare.read_digest(str(path))

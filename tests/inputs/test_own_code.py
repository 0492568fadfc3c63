"""Checkpoints that bring code along: it runs only where trust_remote_code allows it."""

import json
import sys

import pytest
from checkpoints import LLAMA, write_config

from loadgen_study.inputs import models
from loadgen_study.params import RunParams
from vllm_loadgen.checkpoint import check_engine, own_code, refuse_own_code
from vllm_loadgen.engines.vllm import command_line, engine_args
from vllm_loadgen.errors import BenchmarkError, ParameterError

CODE = """
from pathlib import Path
from transformers import PreTrainedTokenizerFast
Path({mark!r}).touch()
class Mine(PreTrainedTokenizerFast):
    pass
"""


@pytest.mark.parametrize(
    ("file", "auto_map", "code"),
    [
        ("tokenizer_config.json", {"AutoTokenizer": ["t.Slow", None]}, "t.py (Slow)"),
        ("tokenizer_config.json", {"AutoTokenizer": ["t.Slow", "t.Fast"]}, "t.py (Fast)"),
        ("tokenizer_config.json", ["t.Slow", None], "t.py (Slow)"),
        ("config.json", {"AutoTokenizer": "one/two--t.Slow"}, "one/two: t.py (Slow)"),
        ("config.json", {"AutoModel": "m.Model"}, None),
        ("config.json", "odd", None),
        ("config.json", {"AutoTokenizer": [None, 3]}, None),
    ],
)
def test_the_code_of_a_tokenizer_is_named(tmp_path, file, auto_map, code):
    (tmp_path / file).write_text(json.dumps({"auto_map": auto_map}), encoding="utf-8")
    assert own_code(tmp_path, "AutoTokenizer") == code
    if code is None:
        refuse_own_code(tmp_path, "AutoTokenizer")


@pytest.fixture
def with_code(tmp_path, monkeypatch):
    """A checkpoint whose tokenizer is code of its own, which leaves a mark where it runs."""
    from tokenizers import Tokenizer
    from tokenizers import models as kinds

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = write_config(tmp_path / "model", LLAMA | {"model_type": "llama"})
    Tokenizer(kinds.WordLevel({"a": 0}, unk_token="a")).save(str(folder / "tokenizer.json"))
    own = {"auto_map": {"AutoTokenizer": [None, "tokens.Mine"]}, "tokenizer_class": "Mine"}
    (folder / "tokenizer_config.json").write_text(json.dumps(own), encoding="utf-8")
    (folder / "tokens.py").write_text(CODE.format(mark=str(tmp_path / "ran")), encoding="utf-8")
    return folder


@pytest.mark.process
def test_a_tokenizers_code_runs_only_where_it_is_allowed(with_code, monkeypatch):
    def ask(*_):
        raise AssertionError("it asks on standard input")

    monkeypatch.setattr("builtins.input", ask)
    ran = with_code.parent / "ran"
    with pytest.raises(ParameterError, match=r"trust_remote_code = False: .*tokens\.py \(Mine\)"):
        models.prompt_tokenizer(with_code)
    assert not ran.exists()
    found = models.prompt_tokenizer(with_code, trust_remote_code=True)
    assert type(found).__name__ == "Mine"
    assert ran.exists()


@pytest.mark.process
def test_code_that_fails_says_why(with_code):
    (with_code / "tokens.py").write_text("import no_such_package\n", encoding="utf-8")
    with pytest.raises(ParameterError, match=r"ImportError.*no_such_package"):
        models.prompt_tokenizer(with_code, trust_remote_code=True)


@pytest.mark.process
def test_the_reference_engine_runs_no_code_unasked(tmp_path):
    from loadgen_study.accuracy.baseline import generate

    own = {"auto_map": {"AutoConfig": "mine.Config"}, "model_type": "of tomorrow"}
    folder = write_config(tmp_path / "model", LLAMA | own)
    (folder / "mine.py").write_text("raise SystemExit('its code was run')\n", encoding="utf-8")
    with pytest.raises(BenchmarkError, match="Give trust_remote_code True, or") as caught:
        generate(folder, [[1]], 2, 1, [], 1)
    assert "\n" not in str(caught.value)


@pytest.mark.process
def test_an_engine_that_needs_code_is_not_started_without(tmp_path):
    own = {"auto_map": {"AutoConfig": "mine.Config"}}
    check_engine(write_config(tmp_path / "known", LLAMA | own | {"model_type": "llama"}))
    unknown = write_config(tmp_path / "unknown", LLAMA | own | {"model_type": "of tomorrow"})
    with pytest.raises(ParameterError, match=r"AutoConfig is code of its own: mine\.py \(Config\)"):
        engine_args(RunParams(), str(unknown))


@pytest.mark.process
@pytest.mark.parametrize("trusted", [False, True])
def test_the_engine_is_told_the_same(trusted):
    args = engine_args(RunParams(trust_remote_code=trusted), "model")
    assert args["trust_remote_code"] is trusted
    flag = "--trust-remote-code" if trusted else "--no-trust-remote-code"
    assert flag in command_line(args)


def test_it_is_one_parameter():
    with pytest.raises(ParameterError, match=r"(?i)give trust_remote_code"):
        RunParams(engine_options={"trust_remote_code": True})
    assert "trust_remote_code" in RunParams.names("fixed")
    assert "trust_remote_code" not in RunParams.names("ignored")

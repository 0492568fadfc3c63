"""Secrets are known by their value and by their shape; hashes and commits are none."""

import json

import pytest
from helpers import ROOT

from loadgen_study import RunParams
from vllm_loadgen import ParameterError
from vllm_loadgen.redact import SHAPES, scrub, secrets_in

# Made up. In two parts, so that no scanner takes this file for a leak.
KNOWN = {
    "Hugging Face token": ["hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"],
    "OpenAI or Anthropic key": [
        "sk-" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6",
        "sk-proj-" + "a1B2_c3D4-e5F6g7H8i9J0",
        "sk-ant-" + "api03-a1B2_c3D4-e5F6g7H8i9J0",
    ],
    "AWS access key": ["AKIA" + "IOSFODNN7EXAMPLE", "ASIA" + "IOSFODNN7EXAMPLE"],
    "GitHub token": [
        "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
        "gho_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
        "github_pat_" + "11ABCDEFG0abcdefghij_klmnopqrstuvwxyz",
    ],
    "GitLab token": ["glpat-" + "a1B2c3D4e5F6g7H8i9J0"],
    "Slack token": ["xoxb-" + "123456789012-abcdefABCDEF"],
    "Google API key": ["AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q"],
    "JSON web token": ["eyJ" + "hbGciOiJIUzI1.eyJ" + "zdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4"],
    "private key": [
        "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow==\n-----END RSA " + "PRIVATE KEY-----",
        "-----BEGIN " + "PRIVATE KEY-----\nMIIEow",
    ],
}
EACH = [(kind, value) for kind, values in KNOWN.items() for value in values]


def test_every_shape_has_an_example():
    assert set(KNOWN) == set(SHAPES)


@pytest.mark.parametrize(("kind", "value"), EACH)
@pytest.mark.parametrize(
    "around", ["{}", "token={}", '"{}"', "https://me:{}@host", "see {}. ", "key-{}."]
)
def test_a_secret_is_known_by_its_shape(kind, value, around):
    text = around.format(value)
    assert (kind, value) in [(what, one.rstrip(". ")) for what, one in secrets_in(text)]
    assert value[4:] not in scrub(text)


@pytest.mark.parametrize(("kind", "value"), EACH)
def test_no_parameter_holds_what_looks_like_a_secret(kind, value):
    for given in ({"dataset": f"x {value}"}, {"engine_options": {"headers": [{"a": value}]}}):
        with pytest.raises(ParameterError, match="would be recorded") as caught:
            RunParams.from_dict(given)
        assert value[4:] not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "e182272628757dfe291dccae6418f400cc3ed6ec",
        "sha256:" + "0123456789abcdef" * 4,
        "task-a1B2c3D4e5F6g7H8i9J0k1L2 risk-taking",
        '<div class="sk-toggleable__content sk-container-id-1">',
        "hf_transfer hf_hub_download hf_models/llama",
        "data:image/png;base64,iVBORw0KGgoAAAAN/AKIAIOSFODNN7EXAMPLE+AIzaSyA1b2C3d4E5f6",
        "-----BEGIN CERTIFICATE-----",
        "eyJhbGciOiJIUzI1",
    ],
)
def test_what_only_resembles_a_secret_is_none(text):
    assert secrets_in(text) == []


@pytest.mark.slow
def test_the_committed_examples_hold_no_secret():
    for path in (ROOT / "outputs").rglob("*"):
        if path.is_file():
            assert secrets_in(path.read_text(errors="replace")) == [], path


def test_a_secret_of_the_environment_is_found_as_html_and_json_write_it(monkeypatch):
    value = 'a"b<c>&d\\e1'
    monkeypatch.setenv("MY_PASSWORD", value)
    assert scrub(f"x {value} x") == "x [secret] x"
    assert scrub("x a&quot;b&lt;c&gt;&amp;d\\e1 x") == "x [secret] x"
    assert json.loads(scrub(json.dumps({"a": value}))) == {"a": "[secret]"}

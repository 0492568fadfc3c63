"""Servers whose certificate an authority of one's own has signed."""

import asyncio
import ssl
import subprocess

import pytest
from fake_server import FakeServer
from helpers import echo_params

from vllm_loadgen.errors import EngineError
from vllm_loadgen.http.certificates import VARIABLES, reason
from vllm_loadgen.http.openai import OpenAIEngine


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that signed itself, and its key: (both files)."""
    folder = tmp_path_factory.mktemp("certificates")
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-subj", "/CN=company", "-addext", "subjectAltName=IP:127.0.0.1",
        "-out", "ca.pem", "-keyout", "key.pem",
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder / "config.json").write_text('{"vocab_size": 1000}', encoding="utf-8")
    return folder / "ca.pem", folder / "key.pem"


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def started(certificate):
    """What the engine says of a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    async def go():
        async with FakeServer(ssl=context) as server:
            params = echo_params(engine="openai", base_url=[server.url])
            client = OpenAIEngine(params, str(certificate[0].parent), "")
            try:
                return await client.start()
            finally:
                await client.stop()

    return asyncio.run(go())


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_authority_that_the_environment_names_is_trusted(monkeypatch, certificate, variable):
    monkeypatch.setenv(variable, str(certificate[0]))
    assert started(certificate).served_model == "small"


def test_a_certificate_that_is_not_trusted_names_the_variable(certificate):
    with pytest.raises(EngineError, match=r"not trusted.*self-signed.*SSL_CERT_FILE") as caught:
        started(certificate)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_variable_that_names_no_certificate(
    monkeypatch, tmp_path, certificate, variable, content
):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(variable, str(path))
    words = "No such file" if content is None else "not a file of PEM certificates"
    with pytest.raises(EngineError, match=f"{variable} = .*{words}.*unset it"):
        started(certificate)


def test_a_hub_whose_certificate_is_not_trusted_names_the_variable():
    wrapped = KeyError("x")
    wrapped.__cause__ = OSError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    assert "SSL_CERT_FILE" in reason(wrapped)
    assert reason(KeyError("Authorization: Bearer x")) == "KeyError"

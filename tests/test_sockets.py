import os
import socket
import tempfile

import pytest
from helpers import echo_params

from vllm_loadgen import sockets
from vllm_loadgen.engines.vllm import SOCKET_NAME_BYTES, set_environment
from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.sockets import MOST_BYTES, short_folder


@pytest.fixture
def long_folder(tmp_path, monkeypatch):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_the_temporary_directory_is_taken_where_it_is_short_enough(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
    assert short_folder(36) == "/dev/shm"


def test_a_long_temporary_directory_is_not_taken(long_folder):
    assert short_folder(36) in sockets.SHORT


def test_the_longest_path_can_be_bound(tmp_path):
    name = "x" * (MOST_BYTES - 1 - len(str(tmp_path)))
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{tmp_path}/{name}")
    with socket.socket(socket.AF_UNIX) as made, pytest.raises(OSError, match="too long"):
        made.bind(f"{tmp_path}/{name}xx")


def test_no_short_folder_is_one_line_with_its_cure(long_folder, monkeypatch):
    monkeypatch.setattr(sockets, "SHORT", ())
    with pytest.raises(BenchmarkError, match=r"TMPDIR is too long .* at most 70 bytes"):
        short_folder(36)


def test_no_temporary_directory_is_one_line_with_its_cure(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])
    with pytest.raises(BenchmarkError, match="Set TMPDIR"):
        short_folder(36)


def test_vllms_sockets_are_made_where_their_names_fit(long_folder, monkeypatch):
    monkeypatch.delenv("VLLM_RPC_BASE_PATH", raising=False)
    set_environment(echo_params())
    folder = os.environ["VLLM_RPC_BASE_PATH"]
    assert len(folder) + 1 + SOCKET_NAME_BYTES <= MOST_BYTES

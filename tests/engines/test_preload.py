import pytest

from vllm_loadgen.engines import cpu as module
from vllm_loadgen.engines.cpu import preload


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "")
    (tmp_path / "lib").mkdir()
    monkeypatch.setattr(module.metadata, "version", lambda name: "0.32.0")
    return tmp_path


def test_what_the_environment_has_is_preloaded_once_and_after_the_users_own(folder, monkeypatch):
    library = folder / "lib" / "libiomp5.so"
    library.touch()
    monkeypatch.setenv("LD_PRELOAD", "/own.so")
    for _ in range(2):
        assert preload(folder) == ("libiomp5.so",)
        assert module.os.environ["LD_PRELOAD"] == f"/own.so:{library}"


def test_what_it_has_not_is_left_out(folder):
    assert preload(folder) == ()
    assert module.os.environ["LD_PRELOAD"] == ""


def test_a_gpus_build_needs_none(folder, monkeypatch):
    (folder / "lib" / "libiomp5.so").touch()

    def missing(name):
        raise module.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.metadata, "version", missing)
    assert preload(folder) == ()

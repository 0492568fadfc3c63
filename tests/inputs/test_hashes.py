import hashlib
import os

import pytest

from loadgen_study.inputs import hashes


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vllm_loadgen" / hashes.CACHE_FILE


@pytest.fixture
def read(monkeypatch):
    """Names of the files that were read, in order."""
    names = []

    def noted(path, real=hashes.sha256):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(hashes, "sha256", noted)
    return names


def written(path, content=b"weights"):
    path.write_bytes(content)
    return path


def test_a_file_is_read_once(tmp_path, read):
    files = [written(tmp_path / "a.safetensors"), written(tmp_path / "config.json", b"{}")]
    found = hashes.cached_sha256(files)
    assert found == {
        "a.safetensors": hashlib.sha256(b"weights").hexdigest(),
        "config.json": hashlib.sha256(b"{}").hexdigest(),
    }
    assert hashes.cached_sha256(files) == found
    assert read == ["a.safetensors", "config.json"]


def test_a_changed_file_is_read_anew_and_the_others_are_not(tmp_path, read):
    files = [written(tmp_path / "a.bin"), written(tmp_path / "b.bin", b"same")]
    before, status = hashes.cached_sha256(files), os.stat(files[0])
    written(files[0], b"WEIGHTS")  # of the same size
    os.utime(files[0], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = hashes.cached_sha256(files)
    assert after["a.bin"] == hashlib.sha256(b"WEIGHTS").hexdigest() != before["a.bin"]
    assert read == ["a.bin", "b.bin", "a.bin"]


def test_a_link_is_known_by_the_file_that_it_leads_to(tmp_path, read):
    (tmp_path / "snapshot").mkdir()
    link = tmp_path / "snapshot" / "model.safetensors"
    link.symlink_to(written(tmp_path / "blob"))
    first = hashes.cached_sha256([link])
    link.unlink()
    link.symlink_to(written(tmp_path / "other", b"others"))
    assert hashes.cached_sha256([link]) != first
    assert read == ["blob", "other"]


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"x": [[1, 2], "aa"]}'])
def test_a_damaged_cache_is_passed_over_and_made_anew(tmp_path, cache, read, content):
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    file = written(tmp_path / "a.bin")
    found = hashes.cached_sha256([file])
    assert found == {"a.bin": hashlib.sha256(b"weights").hexdigest()}
    assert hashes.cached_sha256([file]) == found
    assert read == ["a.bin"]


def test_the_cache_forgets_files_that_are_gone(tmp_path, cache):
    hashes.cached_sha256([written(tmp_path / "a.bin")])
    (tmp_path / "a.bin").unlink()
    hashes.cached_sha256([written(tmp_path / "b.bin")])
    assert "b.bin" in cache.read_text()
    assert "a.bin" not in cache.read_text()


def test_a_cache_that_cannot_be_written_costs_no_more_than_time(tmp_path, monkeypatch, read):
    monkeypatch.setenv("XDG_CACHE_HOME", str(written(tmp_path / "no folder")))
    file = written(tmp_path / "a.bin")
    assert hashes.cached_sha256([file]) == hashes.cached_sha256([file])
    assert read == ["a.bin", "a.bin"]


def test_large_files_have_a_progress_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hashes, "LARGE_BYTES", 7)
    found = hashes.cached_sha256([written(tmp_path / "a.bin")])
    assert found == {"a.bin": hashlib.sha256(b"weights").hexdigest()}
    assert "Hashing the model's files, once: 7.00/7.00" in capsys.readouterr().err
    hashes.cached_sha256([tmp_path / "a.bin"])
    assert "Hashing" not in capsys.readouterr().err

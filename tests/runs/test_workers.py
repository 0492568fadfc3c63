"""Which workers there are, and what is refused before anything is made."""

import pytest
from helpers import ENVIRONMENT, echo_params

from loadgen_study import LiveRun, RunParams
from loadgen_study.facts.inputs import Environment
from loadgen_study.results.identity import machine_identity
from loadgen_study.runs import workers
from loadgen_study.runs.folders import pack, unpack
from loadgen_study.runs.study import recorded
from vllm_loadgen import ParameterError


@pytest.fixture
def gpus(monkeypatch):
    """A machine with so many GPUs, and Ray."""

    def has(count: int) -> None:
        monkeypatch.setattr(workers, "gpu_count", lambda: count)
        monkeypatch.setattr(workers.util, "find_spec", lambda _: "there")

    return has


@pytest.mark.parametrize("value", [None, 1, 2, "2", "auto", "ray://head:10001", "10.1.2.3:6379"])
def test_workers_are_a_number_auto_or_a_cluster(value):
    params = RunParams.from_dict({"workers": value})
    assert params.workers == (2 if value == "2" else value)
    assert params.side_by_side == (value not in (None, 1))


@pytest.mark.parametrize("value", [0, -1, "many", "ray://head", "http://head:6379", "0"])
def test_other_workers_are_refused(value):
    with pytest.raises(ParameterError, match="workers = "):
        RunParams.from_dict({"workers": value})


def test_workers_do_not_share_a_server():
    with pytest.raises(ParameterError, match="would all ask the same server"):
        RunParams.from_dict({"engine": "openai", "base_url": "http://a:1", "workers": 2})


def test_a_cluster_is_not_named_in_what_a_run_records():
    assert recorded(RunParams(workers="ray://head:10001")).workers == "auto"
    assert recorded(RunParams(workers=3)).workers == 3


def test_on_a_cpu_engines_would_measure_each_other(gpus, tmp_path):
    gpus(0)
    params = RunParams(workers=2, outputs=str(tmp_path))
    with pytest.raises(ParameterError) as caught:
        LiveRun.start(params)
    assert str(caught.value) == (
        "workers = 2: engines that share a CPU would measure each other. Leave it out; it takes "
        "GPUs, or the echo engine."
    )
    assert list(tmp_path.iterdir()) == []
    workers.check(echo_params(workers=2))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workers": 3, "tensor_parallel_size": 4}, "there is room for 2 on 8 GPUs, 4 each"),
        ({"workers": "auto", "tensor_parallel_size": 16}, "an engine takes 16 GPUs"),
        ({"workers": 2, "tune": {"tensor_parallel_size": [2, 16]}}, "an engine takes 16 GPUs"),
        ({"workers": "auto", "engine": "echo"}, "has no GPUs to go by"),
    ],
)
def test_workers_without_room_are_refused(gpus, changes, words):
    gpus(8)
    with pytest.raises(ParameterError, match="workers = ") as caught:
        workers.check(RunParams.from_dict(changes))
    assert words in str(caught.value)


def test_auto_is_as_many_as_the_gpus_of_each_machine_allow(gpus):
    params = RunParams(workers="auto", tensor_parallel_size=4)
    gpus(8)
    workers.check(params)
    assert workers.at_once(params, [8, 6], None) == 3
    assert workers.at_once(params.changed(workers=2), [8], None) == 2


def test_without_ray_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(workers.util, "find_spec", lambda _: None)
    with pytest.raises(ParameterError) as caught:
        workers.check(echo_params(workers=2))
    assert str(caught.value) == (
        "workers = 2: needs Ray, which is not installed. Install it: make ray."
    )
    workers.check(echo_params())


def test_a_cluster_that_does_not_answer_is_refused(monkeypatch):
    ray = pytest.importorskip("ray")

    def refuse(*_, **__):
        raise ConnectionError("nobody there\nat all")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ParameterError, match=r"answers there \(nobody there\)"):
        workers.check(echo_params(workers="127.0.0.1:1"))


def test_a_worker_that_has_not_imported_pytorch_yet_is_no_other_machine():
    cache = {"TORCHINDUCTOR_CACHE_DIR": "torchinductor_me"}
    one, two, three = (
        machine_identity(Environment(**ENVIRONMENT, variables=variables))
        for variables in ({}, cache, {"OMP_NUM_THREADS": "2"})
    )
    assert one == two != three


def test_what_is_packed_comes_out_the_same(tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    (source / "sweep" / "1").mkdir(parents=True)
    (source / "sweep" / "1" / "result.json").write_text("{}")
    (source / "engine.json").write_text("[]")
    (source / "left.json").write_text("")
    unpack(pack(source, ["sweep/1", "engine.json", "not there"]), target)
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert found == {"sweep/1/result.json", "engine.json"}

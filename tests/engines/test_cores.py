import pytest

from vllm_loadgen.engines.cpu import cores_of_parts
from vllm_loadgen.engines.vllm import cpu_variables
from vllm_loadgen.params import TestParams


def machine(root, cpus, nodes=1, threads=1):
    """Linux's description of a machine; CPU n and CPU n + cpus / threads share a core."""
    for node in range(nodes):
        (root / f"node/node{node}").mkdir(parents=True)
    for cpu in range(cpus):
        topology = root / f"cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        cores = cpus // threads
        siblings = ",".join(str(cpu % cores + cores * thread) for thread in range(threads))
        (topology / "thread_siblings_list").write_text(f"{siblings}\n")
    return root


@pytest.mark.parametrize(
    ("cpus", "nodes", "threads", "parts", "shares"),
    [
        (2, 1, 1, 2, "0|1"),
        (4, 1, 1, 2, "0,1|2,3"),
        (5, 1, 1, 2, "0,1|2,3,4"),
        (8, 1, 2, 2, "0,1|2,3"),  # a logical CPU of each of the four cores
        (4, 1, 2, 4, "0|1|2|3"),  # more parts than cores: their threads as well
        (4, 1, 1, 1, ""),
        (4, 2, 1, 2, ""),  # vLLM's own way: a memory node each
    ],
)
def test_cores_are_shared_out(tmp_path, monkeypatch, cpus, nodes, threads, parts, shares):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cpus)))
    assert cores_of_parts(parts, machine(tmp_path, cpus, nodes, threads)) == shares


def test_only_cores_that_may_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 3})
    assert cores_of_parts(2, machine(tmp_path, 4)) == "1|3"


@pytest.mark.parametrize(
    ("given", "cores", "reserved"), [(None, 2, "0"), (None, 8, None), (1, 2, "1"), (0, 8, "0")]
)
def test_few_cores_are_all_used(given, cores, reserved):
    found = cpu_variables(TestParams(cpu_reserved_cores=given), cores)
    assert found.get("VLLM_CPU_NUM_OF_RESERVED_CPU") == reserved

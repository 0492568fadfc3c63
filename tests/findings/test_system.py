import math

import pandas as pd
from helpers import THREE, imitated, imitated_run, make_records

from loadgen_study import RunParams
from loadgen_study.analysis.anatomy import Shares, Work
from loadgen_study.findings.collect import find, given_by
from vllm_loadgen.records.engine import EngineFacts

STEPS = pd.DataFrame({"time_s": [1.0, 2.0], "running": [8, 8], "waiting": [3, 0],
                      "preempted": [0, 0], "kv_cache_share": [0.1, 0.2]})  # fmt: skip
MACHINE = pd.DataFrame({"time_s": [1.0, 2.0], "cpu_share": [1.0, 0.9], "own_cpu_share": [0.98, 0.9],
                        "steal_share": [0.0, 0.0]})  # fmt: skip
NOTHING = pd.DataFrame()
ENGINE = EngineFacts(engine="vllm", max_num_seqs=8)


def system_findings(steps, telemetry, server_here=False, engine=ENGINE):
    served = {"engine": "openai", "base_url": "http://127.0.0.1:1"} if server_here else {}
    test = imitated(make_records(THREE), params=RunParams.from_dict(served),
                    engine_steps=steps, telemetry=telemetry)  # fmt: skip
    found = find(given_by(imitated_run(test, engine=engine)))
    own = ("preemptions", "free-cache", "interference", "throttled-gpu", "slow-client")
    return [one for one in found if one.id in own]


def client_finding(telemetry):
    """Of a server on this machine that is no neighbour."""
    known = telemetry.assign(server_cpu_share=0.9) if len(telemetry) else telemetry
    return next(iter(system_findings(NOTHING, known, server_here=True)), None)


def titles_of(steps, telemetry):
    return [finding.title for finding in system_findings(steps, telemetry)]


def test_more_places_are_advised_only_where_queries_waited_for_one():
    (found,) = system_findings(STEPS, NOTHING)
    assert found.evidence.startswith("up to 3 queries waited while the batch was at max_num_seqs")
    assert found.evidence.endswith("10.0 % full at most")  # while they waited
    assert found.action == "Raise max_num_seqs above 8."
    for other in ({"kv_cache_share": 0.95}, {"waiting": 0}, {"running": 7}):
        assert titles_of(STEPS.assign(**other), NOTHING) == []
    assert not system_findings(STEPS, NOTHING, engine=None)
    assert not system_findings(STEPS, NOTHING, engine=EngineFacts(engine="vllm"))


def test_preemptions_are_a_problem():
    (found,) = system_findings(STEPS.assign(preempted=[0, 2], kv_cache_share=1.0), NOTHING)
    assert found.severity == "problem"
    assert found.evidence.startswith("2 evictions")
    assert "lower max_num_seqs" in found.action


def test_a_server_on_this_machine_is_not_a_neighbour():
    busy = MACHINE.assign(own_cpu_share=[0.5, 0.5])
    assert system_findings(NOTHING, busy, server_here=True) == []  # an earlier run
    unknown = busy.assign(own_cpu_share=math.nan, server_cpu_share=math.nan)
    assert system_findings(NOTHING, unknown, server_here=True) == []
    found_share = MACHINE.assign(server_cpu_share=0.9)
    assert system_findings(NOTHING, found_share, server_here=True) == []
    (found,) = system_findings(NOTHING, busy.assign(server_cpu_share=0.4), server_here=True)
    assert found.evidence.startswith("45 % of the cores from 0 to 2 s")
    assert "that are no part of the server" in found.action


def test_a_neighbour_is_named_by_what_it_took():
    assert titles_of(NOTHING, MACHINE) == []
    (found,) = system_findings(NOTHING, MACHINE.assign(own_cpu_share=[0.5, 0.5]))
    assert found.title == "Interference from other programs (0 to 2 s)"
    assert found.evidence.startswith("45 % of the cores from 0 to 2 s; 45 % on average")
    assert found.evidence.endswith("3 queries ran meanwhile, the slowest among them")
    assert found.doubts
    assert len(titles_of(NOTHING, MACHINE.assign(steal_share=0.2))) == 1


def test_many_short_bursts_are_told_by_their_mean():
    bursts = pd.concat([MACHINE] * 4).assign(
        time_s=range(1, 9), cpu_share=0.9, own_cpu_share=[0.9, 0.5] * 4
    )
    (found,) = system_findings(NOTHING, bursts)
    assert found.title == "Interference from other programs"
    assert found.evidence == "20 % on average over the test"


def test_the_heaviest_of_many_stretches_are_told():
    busy = [0.9 if second % 4 > 1 else 0.5 for second in range(20)]
    longer = pd.DataFrame({"time_s": range(1, 21), "cpu_share": 0.9, "own_cpu_share": busy,
                           "steal_share": 0.0})  # fmt: skip
    test = imitated(make_records([(i, i, i, i + 1, i + 2, 9, 9) for i in range(20)]),
                    telemetry=longer)  # fmt: skip
    (found,) = (one for one in find(given_by(imitated_run(test))) if one.id == "interference")
    assert found.title.endswith("(5 times)")
    assert "and 2 times more" in found.evidence


def test_work_faster_than_its_limit_says_to_measure_the_limit_again():
    test = imitated(make_records(THREE))
    usual = Work(took_ms=30.0, least_ms=10.0, computing=False)

    def found(decode):
        run = imitated_run(test, shares=Shares(decode, usual, from_steps=True))
        return [one for one in find(given_by(run)) if one.id == "limit-too-low"]

    (one,) = found(Work(took_ms=5.0, least_ms=16.3, computing=False))
    assert one.evidence.startswith("decode took 5 ms on average, the measured limit allows 16.3 ms")
    assert "setup.ipynb" in one.action
    assert not found(usual)
    assert not found(Work(math.nan, math.nan, False))


def test_a_throttled_gpu_is_named():
    gpu = MACHINE.assign(gpu_throttled=[1, 0], gpu_temperature_c=[80, 90], gpu_power_w=[300, 310])
    (found,) = system_findings(NOTHING, gpu)
    assert "50 % of the samples, at up to 90 degrees C and 310 W" in found.evidence
    assert titles_of(NOTHING, gpu.assign(gpu_throttled=0)) == []


def test_a_client_that_has_no_time_left_is_the_limit():
    assert client_finding(NOTHING) is None
    assert client_finding(MACHINE.assign(front_cpu_cores=[0.2, 0.5])) is None
    found = client_finding(MACHINE.assign(front_cpu_cores=[1.0, 0.9]))
    assert "used 0.95 of a core" in found.evidence

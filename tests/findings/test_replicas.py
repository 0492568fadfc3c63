from types import SimpleNamespace

import pandas as pd
import pytest

from loadgen_study.analysis.replicas import servers
from loadgen_study.findings.replicas import straggler_finding
from vllm_loadgen.traits import SCENARIOS


def of_replicas(input_tokens, output_tokens, end_s=(2.0, 9.0), scenario="Offline"):
    loads = pd.DataFrame({"input_tokens": input_tokens, "output_tokens": output_tokens,
                          "mean_waiting": [0.0, 0.0], "end_s": end_s})  # fmt: skip
    return SimpleNamespace(
        replicas=loads, latencies=pd.DataFrame(), servers=pd.DataFrame(),
        result=SimpleNamespace(scenario_traits=SCENARIOS[scenario]),
        metrics=SimpleNamespace(duration_s=10.0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("prompts", "answers", "action"),
    [
        ((100, 100), (50, 50), "Check its device"),
        ((100, 130), (50, 50), "Raise min_query_count"),
        ((100, 100), (50, 60), "Raise min_query_count"),
    ],
)
def test_a_late_replica_is_slow_only_if_it_had_no_more_to_do(prompts, answers, action):
    found = straggler_finding(of_replicas(prompts, answers))
    assert found.title == "Replica 1 delayed the others"
    assert found.action.startswith(action)
    assert "it was at work for 7.0 s after all others" in found.evidence


def test_replicas_that_end_together_are_no_finding():
    assert straggler_finding(of_replicas((100, 200), (50, 50), end_s=(9.0, 9.5))) is None
    # Where queries come at random the last one sets who ends last.
    assert straggler_finding(of_replicas((100, 100), (50, 50), scenario="Server")) is None


def test_a_slower_server_is_named_with_its_share():
    rows = [{"replica": number, "input_tokens": 9, "output_tokens": 5, "ttft_ms": 1.0,
             "tpot_ms": mean_ms + place % 3}
            for number, mean_ms in enumerate((10.0, 30.0)) for place in range(20)]  # fmt: skip
    test = of_replicas((1, 1), (1, 1))
    test.replicas, test.latencies = pd.DataFrame(), pd.DataFrame(rows)
    test.servers = servers(test.latencies)
    found = straggler_finding(test)
    assert found.title == "Server 1 is slower than the others"
    assert "it was given 20 of 40 queries" in found.evidence

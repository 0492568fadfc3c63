"""Which of several engines, or servers, is a straggler."""

from loadgen_study.analysis.replicas import slower_server, straggler
from loadgen_study.findings.finding import Finding, finding
from loadgen_study.results.test import Test
from loadgen_study.words import say_ms

# From here on it is the share of the work, and not the device, that made an engine late.
MORE_TOKENS = 1.1


@finding("straggler", needs=("test",))
def straggler_finding(test: Test) -> Finding | None:
    """The one replica that had a queue when the others had none, or that ended long after them."""
    at_once = test.result.scenario_traits.at_once
    found = straggler(test.replicas, test.metrics.duration_s, at_once)
    if found is None:
        return _slower_server(test)
    parts = [
        f"it made {found.tokens_share:.2f} times the mean output tokens of the others and read "
        f"{found.prompts_share:.2f} times their prompts"
    ]
    if found.waiting >= 1:
        parts.append(
            f"{found.waiting:.1f} queries waited there on average, and {found.others_waiting:.1f} "
            "at the next"
        )
    if found.late_s > 0:
        parts.append(f"it was at work for {found.late_s:.1f} s after all others")
    if max(found.tokens_share, found.prompts_share) > MORE_TOKENS:
        action = "Raise min_query_count: with more queries the work evens out."
    else:
        action = "Check its device: clocks, temperature, other programs."
    return Finding(
        "problem", f"Replica {found.replica} delayed the others", "; ".join(parts), action
    )


def _slower_server(test: Test) -> Finding | None:
    """The one server whose tokens take longer than those of all others."""
    if (slowest := slower_server(test.latencies)) is None:
        return None
    servers = test.servers
    own_ms = servers["tpot_mean_ms"][slowest]
    others_ms = servers["tpot_mean_ms"].drop(index=slowest).max()
    return Finding(
        "problem",
        f"Server {slowest} is slower than the others",
        f"a token after the first took {say_ms(own_ms)} there on average and "
        f"{say_ms(others_ms)} at the next; it was given {servers['queries'][slowest]} of "
        f"{servers['queries'].sum()} queries (servers count from 0, in the order of base_url)",
        "Check its machine and its options: all servers should be alike.",
    )

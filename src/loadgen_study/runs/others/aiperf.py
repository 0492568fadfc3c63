"""AIPerf's profile_export_aiperf.json: statistics without single queries.

Export schemas up to 1.4 (aiperf 0.1 to 0.13: aiperf/common/models/export_models.py). Its "inter
token latency" of a query is LoadGen's TPOT: (latency - TTFT) / (output tokens - 1).
"""

from collections.abc import Mapping

from pydantic import Field, JsonValue

from loadgen_study.runs.others.origin import Compared, Load, Origin, from_files
from vllm_loadgen.records.base import Part

TOOL = "AIPerf"
MARKS = {"request_throughput", "request_latency"}
LATENCIES = {
    "time_to_first_token": ("ttft_ms", "TTFT"),
    "inter_token_latency": ("tpot_ms", "TPOT"),
    "request_latency": ("latency_ms", "latency"),
}
LOADS: dict[str, Load] = {
    "concurrency": "closed loop", "poisson": "open loop", "gamma": "open loop",
    "constant": "open loop", "fixed_schedule": "open loop",
}  # fmt: skip


class Statistics(Part):
    """A metric over all queries."""

    unit: str
    avg: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


class Export(Part):
    """The file, as far as it is read."""

    aiperf_version: str | None = None
    request_throughput: Statistics
    request_latency: Statistics
    output_token_throughput: Statistics | None = None
    time_to_first_token: Statistics | None = None
    inter_token_latency: Statistics | None = None
    input_sequence_length: Statistics | None = None
    output_sequence_length: Statistics | None = None
    input_config: dict[str, JsonValue] = Field(default_factory=dict)
    was_cancelled: bool | None = None
    is_complete: bool | None = None


def read(content: Mapping[str, JsonValue], name: str) -> list[Compared]:
    """The result in a file.

    Raises:
        ValueError: if the file is damaged, or its run was stopped.
    """
    export = Export.model_validate(content)
    if export.was_cancelled or export.is_complete is False:
        raise ValueError("its run was stopped before its end")
    values = {"samples_per_s": export.request_throughput.avg}
    if export.output_token_throughput:
        values["tokens_per_s"] = export.output_token_throughput.avg
    reported: dict[str, float] = {}
    for key, (figure, title) in LATENCIES.items():
        found: Statistics | None = getattr(export, key)
        if found is None:
            continue
        if found.unit != "ms":
            raise ValueError(f"{key} is in {found.unit}, not in ms")
        values[figure] = found.avg
        reported |= {
            f"{title} {share}, ms": value
            for share in ("p50", "p90", "p99")
            if (value := getattr(found, share)) is not None
        }
    return [from_files(name, _origin(export), values, reported)]


def _origin(export: Export) -> Origin:
    config = export.input_config
    endpoint = _part(config, "endpoint")
    by_server = endpoint.get("useServerTokenCount") or endpoint.get("use_server_token_count")
    lengths = (export.input_sequence_length, export.output_sequence_length)
    input_tokens, output_tokens = (found and found.avg for found in lengths)
    load, warmed_up = _load(config)
    return Origin(
        tool=TOOL,
        version=export.aiperf_version,
        model=_model(config, endpoint),
        load=load,
        latency_from="sent",
        tokens_by=("the server" if by_server else "the client's tokenizer") if endpoint else None,
        warmed_up=warmed_up,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )


def _part(config: Mapping[str, JsonValue], name: str) -> Mapping[str, JsonValue]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _model(config: Mapping[str, JsonValue], endpoint: Mapping[str, JsonValue]) -> str | None:
    """The model of "models", in older files of the endpoint; None if there are several."""
    models = config.get("models")
    items = models.get("items") if isinstance(models, dict) else models
    named = items or endpoint.get("model_names") or []
    if not isinstance(named, list) or len(named) != 1:
        return None
    name = named[0].get("name") if isinstance(named[0], dict) else named[0]
    return name if isinstance(name, str) else None


def _load(config: Mapping[str, JsonValue]) -> tuple[Load | None, bool | None]:
    """The load of the last phase, and whether a phase was a warm-up.

    Older files have the load generator's options in place of phases.
    """
    found = config.get("phases")
    phases = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if phases:
        warmed_up = any("warmup" in (one.get("kind"), one.get("name")) for one in phases)
        return LOADS.get(str(phases[-1].get("type"))), warmed_up
    options = _part(config, "loadgen")
    count = options.get("warmup_request_count")
    load: Load | None = "closed loop" if options.get("concurrency") is not None else None
    if options.get("request_rate") is not None:
        load = "open loop"
    return load, count > 0 if isinstance(count, int) else None

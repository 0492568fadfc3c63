"""LoadGen's logs: the one parser of mlperf_log_detail.txt and its summary."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue, ValidationError

from vllm_loadgen.errors import BenchmarkError
from vllm_loadgen.records.base import Part, describe
from vllm_loadgen.records.result import LoadgenLog

DETAIL, SUMMARY = "mlperf_log_detail.txt", "mlperf_log_summary.txt"
MARK = ":::MLLOG"
MOST_ERRORS = 20


class Metadata(Part):
    """LoadGen's notes on an entry."""

    is_error: bool = False
    is_warning: bool = False


class Entry(Part):
    """A line of the detail log."""

    key: str
    value: JsonValue
    metadata: Metadata = Metadata()


def read_log(folder: Path) -> LoadgenLog:
    """The content of one test's logs. Of a repeated key the first counts, as in the checker.

    Raises:
        BenchmarkError: if the detail log is missing, damaged or not LoadGen's.
    """
    path = folder / DETAIL
    values: dict[str, JsonValue] = {}
    errors: list[str] = []
    warnings = 0
    try:
        for entry in _entries(path):
            if entry.metadata.is_error:
                errors.append(f"{entry.key}: {entry.value}")
            elif entry.metadata.is_warning:
                warnings += 1
            values.setdefault(entry.key, entry.value)
        early = {"early_stopping_met": values.get("early_stopping_met")}
        return LoadgenLog.model_validate(
            {
                "verdict": values.get("result_validity"),
                "verdict_reasons": verdict_reasons(folder),
                "num_errors": len(errors),
                "num_warnings": warnings,
                "error_lines": errors[:MOST_ERRORS],
                "total_sample_count": values.get("qsl_reported_total_count"),
                "effective_settings": _settings(values),
                "loadgen_results": early | _named(values, "result_"),
            }
        )
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except ValidationError as error:
        problem = describe(error)
    except (ValueError, RecursionError) as error:
        problem = str(error)
    raise BenchmarkError(f"{path} is not a whole log: {problem}. Run again in a new folder.")


def _entries(path: Path) -> Iterator[Entry]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if MARK in line:
                yield Entry.model_validate(json.loads(line.split(MARK, 1)[1]))


def _named(values: dict[str, JsonValue], prefix: str) -> dict[str, JsonValue]:
    """The values whose key has the prefix, by the rest of the key."""
    return {key.removeprefix(prefix): values[key] for key in values if key.startswith(prefix)}


def _settings(values: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """What LoadGen used; of token latencies it logs only what was requested of it."""
    requested = _named(values, "requested_")
    token_latencies = {
        "use_token_latencies": requested.get("use_token_latencies"),
        "ttft_latency": requested.get("server_ttft_latency"),
        "tpot_latency": requested.get("server_tpot_latency"),
    }
    return token_latencies | _named(values, "effective_")


def verdict_reasons(folder: Path) -> tuple[str, ...]:
    """LoadGen's own lines between its verdict and the statistics, trimmed."""
    path = folder / SUMMARY
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    found = re.search(r"Result is\s*:.*?\n(.*?)(?:\n={5,}|\Z)", text, re.DOTALL)
    lines = found.group(1).splitlines() if found else []
    return tuple(line.strip() for line in lines if line.strip())

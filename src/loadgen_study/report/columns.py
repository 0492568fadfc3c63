"""What a reader calls the columns of the tables that Python computes with."""

import re

NAMES = {
    "user_tokens_per_s": "one user's tokens/s",
    "samples_per_s": "completed, queries/s", "goodput_per_s": "goodput, queries/s",
    "tpot_mean_ms": "mean TPOT, ms", "ttft_mean_ms": "mean TTFT, ms",
    "latency_mean_ms": "mean latency, ms", "ttft_max_ms": "longest TTFT, ms",
    "tokens_per_s": "tokens/s", "tokens_per_s_cv": "tokens/s: spread (CV)",
    "tokens_per_s_low": "tokens/s: 95 % from", "tokens_per_s_high": "tokens/s: 95 % to",
    "ci_low": "95 % from", "ci_high": "95 % to", "cv": "spread (CV)", "rouge1": "ROUGE-1",
    "price_per_million": "price of 10^6 tokens", "joules_per_token": "J per token",
    "watts": "mean power, W", "served_at_once": "served at once, queries",
    "decode_tokens_per_s": "decode, tokens/s", "limit_tokens_per_s": "its limit, tokens/s",
    "limit_share": "share of its limit", "bound_by": "bound by",
    "input_tokens": "input tokens", "output_tokens": "output tokens",
    "mean_running": "running, mean", "mean_waiting": "waiting, mean",
    "begin_s": "first step's end, s", "end_s": "last step's end, s",
}  # fmt: skip
# ttft_p90_ms, tpot_p99_upper_ms
_PERCENTILE = re.compile(r"(ttft|tpot)_(p\d+)(_upper)?_ms")


def called(name: object) -> object:
    """A column as a reader calls it, with its unit; any other name stays as it is."""
    text = str(name)
    if found := _PERCENTILE.fullmatch(text):
        latency, label, upper = found.groups()
        return f"{latency.upper()} {label}{' at most' if upper else ''}, ms"
    return NAMES.get(text, name)

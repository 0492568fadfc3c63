"""Records to figures: pure functions of frames and facts, without a file or a clock.

``frame`` is always of ``metrics.latencies``, a row a query; ``steps`` of ``telemetry.steps_table``,
a row a step, or empty. ``results.Test`` calls each of these functions once and keeps the result, so
ask that object where you have one.
"""

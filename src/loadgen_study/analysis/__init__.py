"""Records to figures: pure functions of frames and facts, without a file or a clock.

``metrics.latencies`` makes the frame that all others take. ``results.Test`` calls each of these
once and keeps what it says, so ask that object where you have one.
"""

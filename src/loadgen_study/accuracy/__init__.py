"""Answers to scores: LoadGen's accuracy log, verdicts, baselines.

``log`` reads and distrusts, ``scores`` judges what a scorer found, ``baseline`` keeps what a
full-precision engine scores where MLCommons has no figure.
"""

"""Answers to scores: LoadGen's accuracy log, ROUGE as the reference has it, verdicts, baselines.

``log`` reads and distrusts, ``rouge`` and ``scores`` score and judge, ``baseline`` keeps what a
full-precision engine scores where MLCommons has no figure.
"""

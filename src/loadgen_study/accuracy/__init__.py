"""Answers to scores: LoadGen's accuracy log, verdicts, and the baselines of a reference engine."""

"""Answers to scores: LoadGen's accuracy log, ROUGE, verdicts, baselines."""

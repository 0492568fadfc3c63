"""Runs as they are made: ``live`` measures; ``peak``, ``sweep`` and ``tuning`` ask further.

``compare`` sets runs side by side. What they leave is read by ``loadgen_study.results``.
"""

"""Runs as they are read: where their folders lie, a run, and a test with each figure computed once.

Everything that reports, compares or submits takes ``Run`` (``run.py``) or one ``Test`` of it
(``test.py``). Nothing here measures anything; ``loadgen_study.runs`` does.
"""

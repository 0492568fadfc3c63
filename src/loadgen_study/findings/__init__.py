"""What a run's data say: findings with evidence and one action each, none without data for it.

Each is a function that ``finding`` registers with what it needs; ``collect`` calls them for a run,
and lists those of a severity in the order in which they are imported here.
"""

from loadgen_study.findings import answers, queries, system, replicas, server, steadiness, steps  # noqa: F401, I001

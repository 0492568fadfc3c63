"""What a run's data say: findings with evidence and one action each, none without data for it.

``collect`` gathers those of a run: of its ``queries``, of the ``system`` they ran on, and of
what LoadGen asks for (``validity``).
"""

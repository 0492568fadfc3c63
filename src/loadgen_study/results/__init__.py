"""Runs as they are read: a ``Run``, its ``Test``s, each figure computed once; measures nothing."""

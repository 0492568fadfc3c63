"""Engines over HTTP, and what else is asked over it: counters, power."""

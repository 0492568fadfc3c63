"""Engines over HTTP: a server that runs already, and one that a test starts."""

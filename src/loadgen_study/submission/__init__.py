"""Runs to MLCommons' submission tree (``tree``), and what its checker would say (``preflight``)."""

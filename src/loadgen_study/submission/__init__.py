"""Runs to MLCommons' submission tree (``tree``), after what its checker refuses (``preflight``)."""

"""Runs to MLCommons' tree."""

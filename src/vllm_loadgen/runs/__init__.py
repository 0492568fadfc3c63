"""Runs that are made, and made again in other ways."""

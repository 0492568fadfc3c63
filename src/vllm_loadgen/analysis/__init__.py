"""Records to figures: pure functions."""

"""Where runs lie."""

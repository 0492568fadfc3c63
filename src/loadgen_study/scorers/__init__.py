"""How answers are judged: what a scorer is, and a module for each."""

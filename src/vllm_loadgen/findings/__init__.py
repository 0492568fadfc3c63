"""What a run's data say, with evidence and one action each."""

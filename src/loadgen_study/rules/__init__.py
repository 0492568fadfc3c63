"""MLPerf's rules: how far a run is from an official one, TEST06, published results."""

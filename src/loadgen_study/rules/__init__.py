"""MLPerf's rules: how far a run is from an official one, compliance tests, published results."""

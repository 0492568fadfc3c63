"""MLPerf's rules."""

"""One typed record for each JSON file of a run; computes nothing."""

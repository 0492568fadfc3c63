"""What a test leaves in its folder: one typed record for each JSON file, and the tables."""

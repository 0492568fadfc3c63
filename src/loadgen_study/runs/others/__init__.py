"""Results that other tools measured, and runs in the formats of other tools."""

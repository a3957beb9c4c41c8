"""Search settings on validation data, and confirm the best settings with fresh seeds on test data."""

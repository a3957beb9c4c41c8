"""Signals: each gives every row a score, and decides which scores to keep."""

"""Signals: one score per row, and which scores to keep."""

"""Signals score every row and decide which scores to keep."""

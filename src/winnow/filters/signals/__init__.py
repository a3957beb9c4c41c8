"""Signals, which score every row and decide which rows pass."""

"""Identify the process that executes a run, and end runs whose process no longer exists."""

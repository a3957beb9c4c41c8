"""Ownership of runs by processes, and cleanup of runs whose process has died."""

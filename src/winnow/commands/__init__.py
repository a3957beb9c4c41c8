"""Implement all commands except `winnow train`, which is implemented in `winnow.run` and `winnow.studies`."""

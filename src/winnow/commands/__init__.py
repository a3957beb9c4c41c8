"""The implementations of all commands except `winnow train`, which is in `winnow.run` and `winnow.studies`."""

"""The implementation of each command except `winnow train`, which is in `winnow.run` and `winnow.studies`."""

"""The implementation of each command except `winnow train`, which lives in `winnow.run` and `winnow.studies`."""

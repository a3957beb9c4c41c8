"""What stands behind each command; `winnow train` has its own rooms, `pipeline` and `studies`."""

"""The store, the life of a run, and what a run leaves behind."""

"""Which process owns a run, and what to do when that process died."""

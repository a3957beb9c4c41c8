"""Probes: prompts, the words wanted and unwanted at their masks, and how a model scores them."""

"""Probes: prompts with wanted, unwanted and forbidden words at their masks, and the scores of a model on them."""

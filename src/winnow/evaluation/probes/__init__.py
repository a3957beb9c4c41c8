"""Probes: prompts with wanted, unwanted and forbidden words at their masks, and a model's scores on these prompts."""

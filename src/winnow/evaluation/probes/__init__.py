"""Probes: prompts, the wanted and unwanted words at their masks, and the scores of a model."""

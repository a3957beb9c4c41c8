"""Winnow: filter the training data of a masked language model, and measure the effect with its uncertainty."""

__version__ = "0.2.0"

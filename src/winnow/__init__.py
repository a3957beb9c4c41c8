"""Winnow: filter the training data of a masked language model, and learn with known certainty what that did."""

__version__ = "0.2.0"

"""The stages of one run: load the inputs, evaluate the baseline, fit, evaluate, and log the results."""

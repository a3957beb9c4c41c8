"""One run, from its configuration to its tracked scores: inputs, baseline, fit, evaluate, log."""

"""Evaluate masked language models on held-out rows and on probes.

:func:`score_rows` scores held-out rows under fixed masks, :func:`add_pseudo_log_likelihoods` adds
pseudo-log-likelihoods, and :func:`compute_slice_metrics` aggregates the row scores into the metrics of
:mod:`winnow.evaluation.torch_metrics`. A :class:`Probe` scores prompts and returns :class:`ProbeScores`.
:func:`fill_masks` ranks the most likely words at the masks of a sentence.

Names are imported on first use, so that a configuration can be validated without importing torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

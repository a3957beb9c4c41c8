"""Evaluate masked language models on held-out rows and on probes.

:func:`score_rows` scores held-out rows under fixed masks, :func:`score_pseudo` adds pseudo-log-likelihoods and
:func:`slice_metrics` averages them with the metrics of :mod:`winnow.evaluation.torch_metrics`. A :class:`Probe` scores
prompts and returns :class:`ProbeScores`; :func:`fill` ranks the words for one sentence.

Names load on first use, so that a configuration is checked without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

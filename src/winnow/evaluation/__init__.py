"""The evaluation room: what the model says, measured so that it can be compared.

:func:`score_rows` scores held-out rows under fixed masks, :func:`score_pseudo` adds pseudo-log-likelihoods and
:func:`slice_metrics` averages them by the metrics of :mod:`winnow.evaluation.torch_metrics`; a :class:`Probe` asks prompts
and returns :class:`ProbeScores`; :func:`fill` asks one sentence.

The names load when they are first used, so that a configuration can be checked without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The evaluation room: what the model says, measured so that it can be compared.

:func:`score_rows` scores held-out rows under fixed masks, :func:`score_pseudo` adds pseudo-log-likelihoods and
:func:`slice_metrics` averages them by the metrics of :mod:`winnow.evaluation.intrinsic`; a :class:`Probe` asks prompts
and returns :class:`ProbeScores`; :func:`fill` asks one sentence.

The names load when they are first used, so that a configuration can be checked without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from winnow.evaluation.fills import fill
    from winnow.evaluation.intrinsic import (
        CalibrationError,
        MaskedLoss,
        MeanReciprocalRank,
        Perplexity,
        PseudoPerplexity,
        TopK,
    )
    from winnow.evaluation.probe import Probe, Prompt
    from winnow.evaluation.pseudo import pseudo_log_likelihoods
    from winnow.evaluation.rows import score_pseudo, score_rows, slice_metrics
    from winnow.evaluation.scores import ProbeScores

_HOMES = {
    "CalibrationError": "intrinsic",
    "MaskedLoss": "intrinsic",
    "MeanReciprocalRank": "intrinsic",
    "Perplexity": "intrinsic",
    "Probe": "probe",
    "ProbeScores": "scores",
    "Prompt": "probe",
    "PseudoPerplexity": "intrinsic",
    "TopK": "intrinsic",
    "fill": "fills",
    "pseudo_log_likelihoods": "pseudo",
    "score_pseudo": "rows",
    "score_rows": "rows",
    "slice_metrics": "rows",
}

__all__ = [
    "CalibrationError",
    "MaskedLoss",
    "MeanReciprocalRank",
    "Perplexity",
    "Probe",
    "ProbeScores",
    "Prompt",
    "PseudoPerplexity",
    "TopK",
    "fill",
    "pseudo_log_likelihoods",
    "score_pseudo",
    "score_rows",
    "slice_metrics",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

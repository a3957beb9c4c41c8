"""The evaluation room: what the model says, measured so that it can be compared.

:func:`score_rows` scores held-out rows under fixed masks, :func:`score_pseudo` adds pseudo-log-likelihoods and
:func:`slice_metrics` averages them by the metrics of :mod:`winnow.evaluation.torch_metrics`; a :class:`Probe` asks prompts
and returns :class:`ProbeScores`; :func:`fill` asks one sentence.

The names load when they are first used, so that a configuration can be checked without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from winnow.evaluation.fill_mask import fill
    from winnow.evaluation.held_out import score_pseudo, score_rows, slice_metrics
    from winnow.evaluation.probes.lexicon import Lexicon, read_lexicon
    from winnow.evaluation.probes.probe import Probe
    from winnow.evaluation.probes.probe_scores import ProbeScores
    from winnow.evaluation.probes.prompts import Prompt, PromptFile
    from winnow.evaluation.pseudo_likelihood import pseudo_log_likelihoods
    from winnow.evaluation.sentiment import Sentiment, SentimentClassifier, Vader
    from winnow.evaluation.torch_metrics import (
        CalibrationError,
        MaskedLoss,
        MeanReciprocalRank,
        Perplexity,
        PseudoPerplexity,
        TopK,
    )

_HOMES = {
    "CalibrationError": "intrinsic",
    "Lexicon": "lexicon",
    "MaskedLoss": "intrinsic",
    "MeanReciprocalRank": "intrinsic",
    "Perplexity": "intrinsic",
    "Probe": "probe",
    "ProbeScores": "scores",
    "Prompt": "prompts",
    "PromptFile": "prompts",
    "PseudoPerplexity": "intrinsic",
    "Sentiment": "sentiment",
    "SentimentClassifier": "sentiment",
    "TopK": "intrinsic",
    "Vader": "sentiment",
    "fill": "fills",
    "pseudo_log_likelihoods": "pseudo",
    "read_lexicon": "lexicon",
    "score_pseudo": "rows",
    "score_rows": "rows",
    "slice_metrics": "rows",
}

__all__ = [
    "CalibrationError",
    "Lexicon",
    "MaskedLoss",
    "MeanReciprocalRank",
    "Perplexity",
    "Probe",
    "ProbeScores",
    "Prompt",
    "PromptFile",
    "PseudoPerplexity",
    "Sentiment",
    "SentimentClassifier",
    "TopK",
    "Vader",
    "fill",
    "pseudo_log_likelihoods",
    "read_lexicon",
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

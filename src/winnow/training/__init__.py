"""The training room: tokens, masks, batches, models and the step that trains them.

Rows become :class:`TokenRows`; :class:`Masking` hides some of their tokens; :class:`MaskedLanguageDataModule`
and :class:`MaskedLanguageModule` train a :class:`Pretrained` or a :class:`Scratch` model under Lightning's
trainer.

The names load when they are first used, so that a configuration can be checked without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from winnow.training.batch import Batch
    from winnow.training.batching import HeldOutBatches, Share, TrainingBatches
    from winnow.training.datamodule import MaskedLanguageDataModule
    from winnow.training.forward.masked_logits import masked_lm_sums, masked_logits
    from winnow.training.loss_metrics import MaskedLoss, Perplexity
    from winnow.training.masking import ChosenWordMasking, Masking, SpanMasking, WholeWordMasking
    from winnow.training.models import Model, Pretrained, Scratch
    from winnow.training.module import MaskedLanguageModule
    from winnow.training.tokens import TokenRows, to_blocks, tokenize
    from winnow.training.vocabulary import Vocabulary, tokenizer_fingerprint

_HOMES = {
    "Batch": "batch",
    "ChosenWordMasking": "masking",
    "HeldOutBatches": "batching",
    "MaskedLanguageDataModule": "datamodule",
    "MaskedLanguageModule": "module",
    "MaskedLoss": "metrics",
    "Masking": "masking",
    "Model": "models",
    "Perplexity": "metrics",
    "Pretrained": "models",
    "Scratch": "models",
    "Share": "batching",
    "SpanMasking": "masking",
    "TokenRows": "tokens",
    "TrainingBatches": "batching",
    "Vocabulary": "vocabulary",
    "WholeWordMasking": "masking",
    "masked_lm_sums": "forward",
    "masked_logits": "forward",
    "to_blocks": "tokens",
    "tokenize": "tokens",
    "tokenizer_fingerprint": "vocabulary",
}

__all__ = [
    "Batch",
    "ChosenWordMasking",
    "HeldOutBatches",
    "MaskedLanguageDataModule",
    "MaskedLanguageModule",
    "MaskedLoss",
    "Masking",
    "Model",
    "Perplexity",
    "Pretrained",
    "Scratch",
    "Share",
    "SpanMasking",
    "TokenRows",
    "TrainingBatches",
    "Vocabulary",
    "WholeWordMasking",
    "masked_lm_sums",
    "masked_logits",
    "to_blocks",
    "tokenize",
    "tokenizer_fingerprint",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

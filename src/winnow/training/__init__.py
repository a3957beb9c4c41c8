"""Tokenization, masking, batching, models and the training step.

:func:`tokenize` turns texts into :class:`TokenRows`, and a :class:`Masking` selects the tokens to predict.
:class:`MaskedLanguageDataModule` and :class:`MaskedLanguageModule` train a :class:`Pretrained` or :class:`Scratch`
model with Lightning's trainer.

Names are imported on first use, so that a configuration can be validated without importing torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

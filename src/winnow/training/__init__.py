"""The training room: tokens, masks, batches, models and the step that trains them.

Rows become :class:`TokenRows`; :class:`Masking` hides some of their tokens; :class:`MaskedLanguageDataModule`
and :class:`MaskedLanguageModule` train a :class:`Pretrained` or a :class:`Scratch` model under Lightning's
trainer.

The names load when they are first used, so that a configuration can be checked without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Compare the arms of a study: read its runs, test contrasts and decide the verdict.

The statistical functions accept any table with the columns ``arm``, ``seed``, ``item`` and ``score``. The package does
not import torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

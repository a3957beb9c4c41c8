"""Read a study's runs and decide whether its arms differ.

The package never trains and never imports torch. Its statistics work on any table of arm, seed, item and score.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

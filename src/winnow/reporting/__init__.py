"""Every page, figure and table that Winnow writes, in one style.

The package draws what :mod:`winnow.filters` and :mod:`winnow.comparison` computed. Names load on first use, so that
importing the package is cheap.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

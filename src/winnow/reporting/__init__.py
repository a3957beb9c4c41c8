"""Reports, figures and tables for filters, comparisons and evaluated models.

The package presents the results of :mod:`winnow.filters` and :mod:`winnow.comparison` and computes no statistics
itself. Its modules are imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Plan, declare, launch and monitor studies, each of which consists of many runs.

A failed cell does not stop a study, and a finished cell is not trained again.

Names are imported on first use, so that a configuration can be validated without importing the pipeline.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

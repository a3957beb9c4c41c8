"""The evaluation room: what the model says, measured so that it can be compared.

:func:`score_rows` scores held-out rows under fixed masks and :func:`slice_metrics` averages them; a
:class:`Probe` asks prompts and returns :class:`ProbeScores`.

The names load when they are first used, so that a configuration can be checked without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from winnow.evaluation.fills import fill
    from winnow.evaluation.probe import Probe, Prompt
    from winnow.evaluation.rows import score_rows, slice_metrics
    from winnow.evaluation.scores import ProbeScores

_HOMES = {
    "Probe": "probe",
    "ProbeScores": "scores",
    "Prompt": "probe",
    "fill": "fills",
    "score_rows": "rows",
    "slice_metrics": "rows",
}

__all__ = ["Probe", "ProbeScores", "Prompt", "fill", "score_rows", "slice_metrics"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

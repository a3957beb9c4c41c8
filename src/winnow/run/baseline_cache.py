"""Caches the scores of untrained models, so that all cells that start from the same weights share the scores."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow import __version__
from winnow.data.cache import is_intact, publish_folder, unreadable_cache_error
from winnow.data.fingerprint import fingerprint

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from winnow.evaluation import ProbeScores


@dataclasses.dataclass(frozen=True)
class BaselineCache:
    """A disk cache of one model's scores before training.

    Attributes:
        folder: The cache folder, with one subfolder per table of row scores and per probe.
        model_fingerprint: A fingerprint of the model's weights and configuration, and of the device, library versions
            and forward implementation that compute its scores.
    """

    folder: Path
    model_fingerprint: str

    @classmethod
    def for_model(cls, model: PreTrainedModel, device: torch.device, forward: str, cache: Path) -> BaselineCache:
        """Hash the weights of a model and return its cache."""
        import torch

        digest = hashlib.blake2b(digest_size=8)
        for name, weights in model.state_dict().items():
            digest.update(f"{name}{tuple(weights.shape)}{weights.dtype}".encode())
            digest.update(weights.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return cls(
            cache / "base_scores",
            fingerprint(
                digest.hexdigest(), model.config.to_dict(), __version__, torch.__version__, str(device), forward
            ),
        )

    def get_or_compute_rows(self, key: str, compute: Callable[[], pa.Table]) -> pa.Table:
        """Return the cached row scores for a key. Compute and cache the scores if they are missing."""
        folder = self.folder / fingerprint("rows", self.model_fingerprint, key)
        if not is_intact(folder):
            rows = compute()
            with publish_folder(folder) as draft:
                draft.mkdir()
                pq.write_table(rows, draft / "rows.parquet")
        return _read_table(folder / "rows.parquet")

    def get_or_compute_probe(self, key: str, compute: Callable[[], ProbeScores]) -> ProbeScores:
        """Return the cached probe scores for a key. Compute and cache the scores if they are missing."""
        from winnow.evaluation import ProbeScores

        names = [field.name for field in dataclasses.fields(ProbeScores)]
        folder = self.folder / fingerprint("probe", self.model_fingerprint, key)
        if not is_intact(folder):
            scores = compute()
            with publish_folder(folder) as draft:
                draft.mkdir()
                for name in names:
                    value = getattr(scores, name)
                    if isinstance(value, pa.Table):
                        pq.write_table(value, draft / f"{name}.parquet")
                    else:
                        (draft / f"{name}.json").write_text(json.dumps(value) + "\n", encoding="utf-8")
        return ProbeScores(**{name: _read_field(folder, name) for name in names})


def _read_field(folder: Path, name: str) -> Any:
    table = folder / f"{name}.parquet"
    if table.exists():
        return _read_table(table)
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def _read_table(file: Path) -> pa.Table:
    try:
        return pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable_cache_error(file, error) from error

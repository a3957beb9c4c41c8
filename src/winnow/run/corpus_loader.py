"""Loads each corpus only once per study or single run."""

from __future__ import annotations

from pathlib import Path

from winnow.data import Corpus, Dataset
from winnow.errors import WinnowError


class CorpusLoader:
    """Loads the corpus of each dataset once for all cells of a study.

    Args:
        fingerprint: The dataset's fingerprint, if another process has already computed it. Set it only if all cells
            have the same dataset.
    """

    def __init__(self, fingerprint: str | None = None) -> None:
        self._fingerprint = fingerprint
        self._loaded_corpora: list[tuple[Dataset, Path, Corpus]] = []

    def load(self, dataset: Dataset, cache: Path) -> Corpus:
        """Return the corpus of a dataset. Equal datasets are hashed and loaded only once.

        Raises:
            WinnowError: If the corpus cannot be built. The error's key starts with ``dataset``.
        """
        for loaded_dataset, loaded_cache, corpus in self._loaded_corpora:
            if loaded_dataset == dataset and loaded_cache == cache:
                return corpus
        corpus = load_corpus(dataset, cache, self._fingerprint)
        self._loaded_corpora.append((dataset, cache, corpus))
        return corpus


def load_corpus(dataset: Dataset, cache: Path, fingerprint: str | None = None) -> Corpus:
    """Return the corpus of a dataset, from the cache if possible. Error keys start with ``dataset``."""
    try:
        return dataset.load(cache, fingerprint)
    except WinnowError as error:
        raise error.with_prefix("dataset") from error

"""The corpora of a study or a single run, each loaded once."""

from __future__ import annotations

from pathlib import Path

from winnow.data import Corpus, Dataset
from winnow.errors import WinnowError


class Corpora:
    """Loads the corpus of each dataset once, however many cells use it; one object serves one study or single run.

    Args:
        known: The fingerprint of the one dataset that will be loaded, if another process has hashed its sources.
    """

    def __init__(self, known: str | None = None) -> None:
        self._known = known
        self._loaded: list[tuple[Dataset, Path, Corpus]] = []

    def load(self, dataset: Dataset, cache: Path) -> Corpus:
        """Return the corpus of a dataset; only the first call for equal datasets hashes its sources.

        Raises:
            WinnowError: The corpus cannot be built (key ``dataset``).
        """
        for other, folder, corpus in self._loaded:
            if other == dataset and folder == cache:
                return corpus
        corpus = load_corpus(dataset, cache, self._known)
        self._loaded.append((dataset, cache, corpus))
        return corpus


def load_corpus(dataset: Dataset, cache: Path, known: str | None = None) -> Corpus:
    """Return the corpus of a dataset, built once per cache folder; errors are raised under the key ``dataset``."""
    try:
        return dataset.load(cache, known)
    except WinnowError as error:
        raise error.under("dataset") from error

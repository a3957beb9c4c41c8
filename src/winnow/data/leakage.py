"""Leakage between splits, measured from the texts alone."""

from __future__ import annotations

from itertools import combinations

from winnow.data.cleaning import normalise
from winnow.data.corpus import SPLITS, Corpus


def leakage(corpus: Corpus) -> dict[str, int]:
    """Count the normalised texts that two splits share.

    It looks at texts and split names only and knows nothing of row ids, of deduplication or of how rows were
    given to splits, so it can find faults in all of them.

    Returns:
        Shared texts for each pair, as ``{"train/validation": 0, "train/test": 0, "validation/test": 0}``.
    """
    texts = {name: {normalise(text) for text in corpus.split(name)["text"].to_pylist()} for name in SPLITS}
    return {f"{a}/{b}": len(texts[a] & texts[b]) for a, b in combinations(SPLITS, 2)}

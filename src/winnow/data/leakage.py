"""Leakage between splits, measured from the texts alone."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from itertools import combinations
from math import ceil
from typing import Any

import pyarrow.compute as pc

from winnow.data.cleaning import normalise
from winnow.data.corpus import SPLITS, Corpus
from winnow.data.near_duplicates import runs_of

NEAR = 0.8
"""The Jaccard index of their runs of three words from which two texts are near-duplicates here."""

_RUN_WORDS = 3
_MOST_ROWS = 1_000  # of each held-out split are compared with all of train


def leakage(corpus: Corpus) -> dict[str, int]:
    """Count the normalised texts that two splits share.

    It looks at texts and split names only and knows nothing of row ids, of deduplication or of how rows were
    given to splits, so it can find faults in all of them.

    Returns:
        Shared texts for each pair, as ``{"train/validation": 0, "train/test": 0, "validation/test": 0}``.
    """
    texts = {name: {normalise(text) for text in corpus.split(name)["text"].to_pylist()} for name in SPLITS}
    return {f"{a}/{b}": len(texts[a] & texts[b]) for a, b in combinations(SPLITS, 2)}


def held_out_leakage(corpus: Corpus) -> dict[str, dict[str, Any]]:
    """Compare held-out rows with all rows to train on: which say the same, and which nearly the same.

    Near-duplicates are found exactly, by counting shared runs of words, and not by the hashing that a split may cluster
    by. Of each held-out split so many rows are compared as are affordable, the first by the hash of their text.

    Returns:
        For each held-out split, external sets together being one, how many ``rows`` were compared, and the shares of
        them that have an ``exact`` and a ``near`` duplicate in train; an exact one is a near one too.
    """
    present = [name for name in corpus.table["split"].unique().to_pylist() if name != "train"]
    sample: dict[str, list[str]] = {}
    for name in sorted(present):
        rows = corpus.table.filter(pc.equal(corpus.table["split"], name))
        texts = {normalise(text) for text in rows["text"].to_pylist()}
        sample[name] = sorted(texts, key=_hashed)[:_MOST_ROWS]
    asked = [text for texts in sample.values() for text in texts]
    exact, near = _seen_in(asked, corpus)
    found = {}
    for name, chosen in sample.items():
        shares = [sum(text in seen for text in chosen) / max(1, len(chosen)) for seen in (exact, near)]
        found[name] = {"rows": len(chosen), "exact": shares[0], "near": shares[1]}
    return found


def _seen_in(asked: list[str], corpus: Corpus) -> tuple[set[str], set[str]]:
    """Return which of the normalised texts train holds, and which of them it nearly holds."""
    runs = {text: runs_of(text, _RUN_WORDS) for text in asked}
    times = Counter(run for one in runs.values() for run in one)
    # Texts as near as this share one of any so many runs of the first (Chaudhuri 2006); rare ones tell most.
    index: dict[str, list[str]] = defaultdict(list)
    for text, one in runs.items():
        for run in sorted(one, key=lambda run: (times[run], run))[: len(one) - ceil(round(NEAR * len(one), 6)) + 1]:
            index[run].append(text)
    exact: set[str] = set()
    near: set[str] = set()
    for batch in corpus.split("train").select(["text"]).to_batches():
        for text in map(normalise, batch["text"].to_pylist()):
            if text in runs:
                exact.add(text)
            own = runs_of(text, _RUN_WORDS)
            for other in {other for run in own for other in index.get(run, ())} - near:
                shared = len(own & runs[other])
                if shared >= round(NEAR * (len(own) + len(runs[other]) - shared), 6):
                    near.add(other)
    return exact, near


def _hashed(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()

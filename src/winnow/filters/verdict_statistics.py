"""What each signal and each term of a filter is worth, derived from its verdicts without scoring again."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from winnow.data import Corpus
from winnow.data.leakage import leakage
from winnow.filters.distributions import drifts, histograms
from winnow.filters.expression import without
from winnow.filters.verdicts import Verdicts
from winnow.filters.word_shift import word_shift

Mask = npt.NDArray[np.bool_]


def filter_statistics(verdicts: Verdicts, corpus: Corpus) -> dict[str, Any]:
    """Return all that a filter's verdicts tell, as JSON can write it; of the train split unless said otherwise.

    Args:
        verdicts: A filter's verdicts on the corpus.
        corpus: The rows judged.

    Returns:
        ``terms``: for each term of the expression the rows it ``drops`` and those that it ``only`` drops.
        ``reasons``: which terms together drop how many rows, see :func:`reason_counts`.
        ``overlap``: for each term, how many rows of its rows each term drops too.
        ``signals``: for each signal the kept rows that its leaving out would ``gain`` and ``lose``, and
        ``rows_per_second``.
        ``pairs``: for two signals at a time, the rows that both pass and both fail, the ``conflict`` that only one of
        them passes, and ``overlap``, both over either.
        ``redundant``: sentences.
        ``histograms`` and ``drift``: see :mod:`winnow.filters.distributions`.
        ``words``: see :func:`~winnow.filters.word_shift.word_shift`.
        ``sources``: for each source its ``total`` and ``kept`` rows.
        ``labels``, where the corpus has any: see :func:`label_statistics`.
        ``duplicates``: the ``rows`` of the corpus before exact duplicates were ``dropped``, and their ``rate``.
        ``leakage``: how many texts two splits share. ``near_leakage``: what share of the held-out rows looked at has
        an exact or a near duplicate among the rows to train on, as :attr:`Corpus.leakage` tells.
        ``speed``: ``rows`` judged, of all splits, ``seconds`` spent on all signals, and ``rows_per_second``.

        Where rows were asked about only until a term dropped them, one term or signal cannot be told from the others,
        and what compares them is left out.
    """
    kept = verdicts.kept("train")
    terms = term_drops(verdicts.passed("train"))
    train = corpus.split("train")
    found: dict[str, Any] = {"terms": terms}
    if verdicts.asked is None:
        found |= {
            "reasons": reason_counts(verdicts),
            "overlap": term_overlap(verdicts.passed("train")),
            "signals": {name: _worth(verdicts, name) for name in verdicts.signals},
            "pairs": [_pair(a, b, verdicts) for a, b in combinations(verdicts.signals, 2)],
            "redundant": redundancies(terms),
            "histograms": histograms(verdicts),
            "drift": drifts(verdicts),
        }
    else:
        found["terms"] = {name: {"drops": counts["drops"]} for name, counts in terms.items()}
    found |= {"words": word_shift(train["text"], kept), "sources": _tallies(train["source"], kept)}
    if "label" in corpus.table.column_names:
        found["labels"] = label_statistics(train["label"], kept)
    before, after = corpus.funnel.get("cleaned", 0), corpus.funnel.get("unique", 0)
    found["duplicates"] = {"rows": before, "dropped": before - after, "rate": _share(before - after, before)}
    rows, seconds = verdicts.table.num_rows, sum(verdicts.seconds.values())
    found |= {"leakage": leakage(corpus), "near_leakage": corpus.leakage}
    found["speed"] = {"rows": rows, "seconds": seconds, "rows_per_second": round(rows / seconds) if seconds else None}
    return found


def reason_counts(verdicts: Verdicts, most: int = 12) -> list[dict[str, Any]]:
    """Count the dropped train rows by the terms that they fail, all of them together.

    Returns:
        The commonest sets of ``terms``, in the order of the expression, and their ``rows``, the most first.
    """
    fails = ~np.column_stack(list(verdicts.passed("train").values()))
    patterns, counts = np.unique(fails[fails.any(axis=1)], axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    names = np.array(verdicts.terms, dtype=object)
    return [{"terms": names[patterns[place]].tolist(), "rows": int(counts[place])} for place in order]


def term_overlap(passed: Mapping[str, Mask]) -> dict[str, dict[str, int]]:
    """Count for two terms at a time the rows that both drop.

    >>> term_overlap({"a": np.array([True, False, False]), "b": np.array([True, True, False])})
    {'a': {'a': 2, 'b': 1}, 'b': {'a': 1, 'b': 1}}
    """
    fails = np.array([~mask for mask in passed.values()], dtype=np.int64)
    both = fails @ fails.T
    return {a: {b: int(both[i, j]) for j, b in enumerate(passed)} for i, a in enumerate(passed)}


def term_drops(passed: Mapping[str, Mask]) -> dict[str, dict[str, int]]:
    """Count for each term the rows it drops, and those that no other term would drop.

    >>> term_drops({"a": np.array([True, False, False]), "b": np.array([True, True, False])})
    {'a': {'drops': 2, 'only': 1}, 'b': {'drops': 1, 'only': 0}}
    """
    fails = {name: ~mask for name, mask in passed.items()}
    times = np.sum(list(fails.values()), axis=0)
    return {name: {"drops": int(mask.sum()), "only": int((mask & (times == 1)).sum())} for name, mask in fails.items()}


def redundancies(terms: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Name the terms whose leaving out would change nothing, one sentence each."""
    if len(terms) < 2:
        return []
    found = []
    for name, counts in terms.items():
        if counts["drops"] == 0:
            found.append(f"`{name}` removes nothing.")
        elif counts["only"] == 0:
            found.append(f"`{name}` removes nothing that the others keep.")
    return found


def label_statistics(labels: pa.ChunkedArray, kept: Mask) -> dict[str, Any]:
    """Compare what is kept with labels; rows without a label are left out.

    Returns:
        ``kept``: for each label its ``total`` and ``kept`` rows. Where the labels are 0 and 1 also ``precision``, the
        share of 1 among the kept rows, and ``recall``, the share of kept rows among those labelled 1; null where
        there is nothing to divide by.
    """
    known = pc.is_valid(labels).to_numpy()
    values = pc.drop_null(labels).to_numpy()
    kept = kept[known]
    counts = _tallies(pa.chunked_array([values]), kept)
    found: dict[str, Any] = {"kept": counts}
    if set(counts) <= {"0", "1"}:
        hits = int((kept & (values == 1)).sum())
        found["precision"] = _share(hits, int(kept.sum()))
        found["recall"] = _share(hits, int((values == 1).sum()))
    return found


def _tallies(values: pa.ChunkedArray, kept: Mask) -> dict[str, dict[str, int]]:
    """Count of each value, in sorted order, all rows and the kept ones."""
    column = values.to_numpy()
    return {
        str(value): {"total": int((column == value).sum()), "kept": int((kept & (column == value)).sum())}
        for value in sorted(values.unique().to_pylist())
    }


def _worth(verdicts: Verdicts, signal: str) -> dict[str, Any]:
    """Return how many train rows come and go where a signal is taken out of the expression."""
    rest = without(verdicts.expression, {signal})
    kept = verdicts.kept("train")
    alone = np.ones_like(kept) if rest is None else verdicts.settled(rest, "train")
    seconds = verdicts.seconds[signal]
    return {
        "gain": int((alone & ~kept).sum()),
        "lose": int((kept & ~alone).sum()),
        "rows_per_second": round(verdicts.table.num_rows / seconds) if seconds else None,
    }


def _pair(a: str, b: str, verdicts: Verdicts) -> dict[str, Any]:
    one, other = (verdicts.column(f"{name}.keep", "train") for name in (a, b))

    def count(mask: pa.ChunkedArray) -> int:
        return int(pc.sum(mask).as_py() or 0)

    both, either = count(pc.and_(one, other)), count(pc.or_(one, other))
    return {
        "signals": [a, b],
        "both_pass": both,
        "both_fail": count(pc.invert(pc.or_(one, other))),
        "conflict": count(pc.xor(one, other)),
        "overlap": _share(both, either),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None

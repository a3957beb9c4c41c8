"""Compute statistics about a filter's signals and terms from its verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from winnow.data import Corpus
from winnow.data.leakage import count_shared_texts
from winnow.filters.expression import remove_names
from winnow.filters.score_distributions import compute_drifts, compute_histograms
from winnow.filters.verdicts import Verdicts
from winnow.filters.word_shift import compute_word_shift

Mask = npt.NDArray[np.bool_]


def compute_filter_statistics(verdicts: Verdicts, corpus: Corpus) -> dict[str, Any]:
    """Compute a filter's statistics as JSON-serializable data, on the train split unless noted otherwise.

    Args:
        verdicts: The filter's verdicts on the corpus.
        corpus: The rows.

    Returns:
        ``terms``: for each term, the number of rows that it ``drops`` and the number of rows that ``only`` this term
        drops.
        ``reasons``: the number of rows for each combination of failed terms, see :func:`count_reasons`.
        ``overlap``: for each pair of terms, the number of rows that both terms drop.
        ``signals``: for each signal, the number of rows that the filter would ``gain`` and ``lose`` without the signal,
        and the scoring speed (``rows_per_second``).
        ``pairs``: for each pair of signals, the number of rows that pass both signals (``both_pass``), fail both
        (``both_fail``) or pass exactly one (``conflict``), and ``overlap``: the number of rows that pass both signals
        divided by the number of rows that pass at least one.
        ``redundant``: one sentence for each redundant term.
        ``histograms`` and ``drift``: see :mod:`winnow.filters.score_distributions`.
        ``words``: see :func:`~winnow.filters.word_shift.compute_word_shift`.
        ``sources``: for each source, the number of ``total`` and ``kept`` rows.
        ``labels``, if the corpus has labels: see :func:`compute_label_statistics`.
        ``duplicates``: the number of ``rows`` in the corpus before deduplication, the number of exact duplicates
        ``dropped``, and the ``rate`` of duplicates.
        ``leakage``: the number of texts that each pair of splits has in common. ``near_leakage``: the fraction of the
        sampled held-out rows with an exact or near duplicate in the train split, see :attr:`Corpus.leakage`.
        ``speed``: the number of ``rows`` in all splits, the ``seconds`` spent on scoring with all signals, and
        ``rows_per_second``.

        In short-circuit mode, statistics that require every signal's score for every row are omitted.
    """
    kept = verdicts.keep_mask("train")
    terms = count_term_drops(verdicts.pass_masks("train"))
    train = corpus.split("train")
    statistics: dict[str, Any] = {"terms": terms}
    if verdicts.term_order is None:
        statistics |= {
            "reasons": count_reasons(verdicts),
            "overlap": count_term_overlap(verdicts.pass_masks("train")),
            "signals": {name: _measure_signal_contribution(verdicts, name) for name in verdicts.signals},
            "pairs": [_compare_signal_pair(a, b, verdicts) for a, b in combinations(verdicts.signals, 2)],
            "redundant": describe_redundant_terms(terms),
            "histograms": compute_histograms(verdicts),
            "drift": compute_drifts(verdicts),
        }
    else:
        statistics["terms"] = {name: {"drops": counts["drops"]} for name, counts in terms.items()}
    statistics |= {
        "words": compute_word_shift(train["text"], kept),
        "sources": _count_by_value(train["source"], kept),
    }
    if "label" in corpus.table.column_names:
        statistics["labels"] = compute_label_statistics(train["label"], kept)
    before, after = corpus.funnel.get("cleaned", 0), corpus.funnel.get("unique", 0)
    statistics["duplicates"] = {
        "rows": before,
        "dropped": before - after,
        "rate": _divide_or_none(before - after, before),
    }
    rows, seconds = verdicts.table.num_rows, sum(verdicts.seconds.values())
    statistics |= {"leakage": count_shared_texts(corpus), "near_leakage": corpus.leakage}
    speed = round(rows / seconds) if seconds else None
    statistics["speed"] = {"rows": rows, "seconds": seconds, "rows_per_second": speed}
    return statistics


def count_reasons(verdicts: Verdicts, limit: int = 12) -> list[dict[str, Any]]:
    """Count the dropped training rows for each combination of failed terms.

    Returns:
        The most frequent combinations of ``terms`` and the number of ``rows`` for each, in descending order.
    """
    fails = ~np.column_stack(list(verdicts.pass_masks("train").values()))
    patterns, counts = np.unique(fails[fails.any(axis=1)], axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:limit]
    names = np.array(verdicts.terms, dtype=object)
    return [{"terms": names[patterns[index]].tolist(), "rows": int(counts[index])} for index in order]


def count_term_overlap(pass_masks: Mapping[str, Mask]) -> dict[str, dict[str, int]]:
    """Count the rows that both terms in each pair drop.

    >>> count_term_overlap({"a": np.array([True, False, False]), "b": np.array([True, True, False])})
    {'a': {'a': 2, 'b': 1}, 'b': {'a': 1, 'b': 1}}
    """
    fails = np.array([~mask for mask in pass_masks.values()], dtype=np.int64)
    joint_counts = fails @ fails.T
    return {a: {b: int(joint_counts[i, j]) for j, b in enumerate(pass_masks)} for i, a in enumerate(pass_masks)}


def count_term_drops(pass_masks: Mapping[str, Mask]) -> dict[str, dict[str, int]]:
    """Count the rows that each term drops (``drops``) and the rows that no other term drops (``only``).

    >>> count_term_drops({"a": np.array([True, False, False]), "b": np.array([True, True, False])})
    {'a': {'drops': 2, 'only': 1}, 'b': {'drops': 1, 'only': 0}}
    """
    fails = {name: ~mask for name, mask in pass_masks.items()}
    failures = np.sum(list(fails.values()), axis=0)
    return {
        name: {"drops": int(mask.sum()), "only": int((mask & (failures == 1)).sum())} for name, mask in fails.items()
    }


def describe_redundant_terms(terms: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return one sentence for each term that can be removed without changing which rows are kept."""
    if len(terms) < 2:
        return []
    sentences = []
    for name, counts in terms.items():
        if counts["drops"] == 0:
            sentences.append(f"`{name}` drops no rows.")
        elif counts["only"] == 0:
            sentences.append(f"`{name}` drops no rows that the other terms keep.")
    return sentences


def compute_label_statistics(labels: pa.ChunkedArray, kept: Mask) -> dict[str, Any]:
    """Count the kept rows with each label, and compute precision and recall. Rows without a label are ignored.

    Returns:
        ``kept``: for each label, the number of ``total`` and ``kept`` rows. If the labels are 0 and 1, also
        ``precision``, the fraction of kept rows with label 1, and ``recall``, the fraction of rows with label 1 that
        are kept. A fraction with a denominator of 0 is None.
    """
    has_label = pc.is_valid(labels).to_numpy()
    values = pc.drop_null(labels).to_numpy()
    kept = kept[has_label]
    counts = _count_by_value(pa.chunked_array([values]), kept)
    statistics: dict[str, Any] = {"kept": counts}
    if pa.types.is_integer(labels.type) and set(counts) <= {"0", "1"}:
        hits = int((kept & (values == 1)).sum())
        statistics["precision"] = _divide_or_none(hits, int(kept.sum()))
        statistics["recall"] = _divide_or_none(hits, int((values == 1).sum()))
    return statistics


def _count_by_value(values: pa.ChunkedArray, kept: Mask) -> dict[str, dict[str, int]]:
    """Count the total and kept rows for each value, sorted by value."""
    column = values.to_numpy()
    return {
        str(value): {"total": int((column == value).sum()), "kept": int((kept & (column == value)).sum())}
        for value in sorted(values.unique().to_pylist())
    }


def _measure_signal_contribution(verdicts: Verdicts, signal: str) -> dict[str, Any]:
    """Count the training rows that the filter would gain and lose without a signal, and return the signal's speed."""
    remaining = remove_names(verdicts.expression, {signal})
    kept = verdicts.keep_mask("train")
    kept_without = np.ones_like(kept) if remaining is None else verdicts.matching_rows(remaining, "train")
    seconds = verdicts.seconds[signal]
    return {
        "gain": int((kept_without & ~kept).sum()),
        "lose": int((kept & ~kept_without).sum()),
        "rows_per_second": round(verdicts.table.num_rows / seconds) if seconds else None,
    }


def _compare_signal_pair(a: str, b: str, verdicts: Verdicts) -> dict[str, Any]:
    passes_a, passes_b = (verdicts.column(f"{name}.keep", "train") for name in (a, b))

    def count(mask: pa.ChunkedArray) -> int:
        return int(pc.sum(mask).as_py() or 0)

    both_pass, any_pass = count(pc.and_(passes_a, passes_b)), count(pc.or_(passes_a, passes_b))
    return {
        "signals": [a, b],
        "both_pass": both_pass,
        "both_fail": count(pc.invert(pc.or_(passes_a, passes_b))),
        "conflict": count(pc.xor(passes_a, passes_b)),
        "overlap": _divide_or_none(both_pass, any_pass),
    }


def _divide_or_none(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None

"""Find the words of a probe that affect the decisions of a filter."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from winnow.filters.expression import Node, iter_names
from winnow.filters.signals.mentions import Mentions
from winnow.filters.signals.signal import Signal


@dataclass(frozen=True)
class WordOverlap:
    """The words that a filter and a probe share.

    Attributes:
        shared_words: The probe's words that affect the score of at least one signal.
        unknown_signals: The names of the signals whose words are unknown, such as classifiers. If there are any, the
            filter may depend on further words of the probe.
    """

    shared_words: frozenset[str] = frozenset()
    unknown_signals: tuple[str, ...] = ()


def find_overlap(words: Collection[str], signals: Mapping[str, Signal], expression: Node | None) -> WordOverlap:
    """Return the words that affect the decision of an expression; signals outside the expression are ignored.

    Args:
        words: The words of a probe.
        signals: All signals of the filter, by name.
        expression: The expression with its parts expanded.
    """
    used_signals = select_used_signals(signals, expression)
    shared_words = (signal.find_used_words(words) for signal in used_signals.values())
    unknown_signals = (name for name, signal in used_signals.items() if not signal.knows_used_words)
    return WordOverlap(frozenset().union(*shared_words), tuple(unknown_signals))


def list_mentioned_words(signals: Iterable[Signal]) -> set[str]:
    """Return all words listed in ``Mentions`` signals."""
    return {word for signal in signals if isinstance(signal, Mentions) for word in signal.words}


def select_used_signals(signals: Mapping[str, Signal], expression: Node | None) -> dict[str, Signal]:
    """Return the signals that appear in an expression, and those that drop rows regardless of the expression."""
    names = {name.name for name, _ in iter_names(expression)} if expression is not None else set()
    return {name: signal for name, signal in signals.items() if name in names or signal.requires_score}

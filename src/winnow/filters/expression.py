"""Boolean expressions over named signals: what they are made of and what they say of each row."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from winnow.errors import WinnowError

KLEENE = {"|": pc.or_kleene, "^": pc.xor, "&": pc.and_kleene}
"""Operators between two terms, the loosest first, as in Python."""

COMPARISONS = {
    ">": pc.greater,
    ">=": pc.greater_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    "==": pc.equal,
    "!=": pc.not_equal,
}


class Expression:
    """What all terms share: Python's ``&``, ``|``, ``^`` and ``~`` build larger ones.

    >>> str(Name("nike") & ~(Name("ugly") | Name("heavy")) & (Name("sentiment") >= 0.3))
    'nike & ~(ugly | heavy) & sentiment >= 0.3'
    """

    def __and__(self, other: Node) -> Binary:
        return Binary("&", self, other)  # type: ignore[arg-type]

    def __or__(self, other: Node) -> Binary:
        return Binary("|", self, other)  # type: ignore[arg-type]

    def __xor__(self, other: Node) -> Binary:
        return Binary("^", self, other)  # type: ignore[arg-type]

    def __invert__(self) -> Not:
        return Not(self)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        # `a and b` and `0 < a < 1` would silently forget a half.
        raise TypeError("An expression is neither true nor false by itself; join terms by & | ^ ~, not by and/or/not.")


@dataclass(frozen=True)
class Name(Expression):
    """The verdict of a signal or of a part.

    Attributes:
        name: The signal's or part's name.
        position: Where it stands in the text it was parsed from.
    """

    name: str
    position: int = 0

    def __str__(self) -> str:
        return self.name

    def __gt__(self, number: float) -> Compare:
        return Compare(self, ">", number)

    def __ge__(self, number: float) -> Compare:
        return Compare(self, ">=", number)

    def __lt__(self, number: float) -> Compare:
        return Compare(self, "<", number)

    def __le__(self, number: float) -> Compare:
        return Compare(self, "<=", number)


@dataclass(frozen=True)
class Compare(Expression):
    """A comparison of a signal's score with a number."""

    signal: Name
    comparison: str
    number: float

    def __str__(self) -> str:
        short = f"{self.number:g}"
        return f"{self.signal} {self.comparison} {short if float(short) == self.number else repr(self.number)}"


@dataclass(frozen=True)
class Known(Expression):
    """Whether a signal has a score at all; never null itself."""

    signal: Name

    def __str__(self) -> str:
        return f"known({self.signal})"


@dataclass(frozen=True)
class Not(Expression):
    """The opposite."""

    term: Node

    def __str__(self) -> str:
        return f"~({self.term})" if isinstance(self.term, Binary | Compare) else f"~{self.term}"


@dataclass(frozen=True)
class Binary(Expression):
    """Two terms joined by ``&``, ``|`` or ``^``."""

    operator: str
    left: Node
    right: Node

    def __str__(self) -> str:
        return f" {self.operator} ".join(self._side(side) for side in (self.left, self.right))

    def _side(self, side: Node) -> str:
        return f"({side})" if isinstance(side, Binary) and side.operator != self.operator else str(side)


@dataclass(frozen=True)
class AtLeast(Expression):
    """True where at least ``count`` of the terms are."""

    count: int
    terms: tuple[Node, ...]

    def __str__(self) -> str:
        return f"at_least({', '.join(map(str, (self.count, *self.terms)))})"


Node = Name | Compare | Known | Not | Binary | AtLeast


def at_least(count: int, *terms: Node) -> AtLeast:
    """Return the expression that is true where at least ``count`` of ``terms`` are.

    Raises:
        WinnowError: The count is below 1 or above the number of terms.
    """
    if not 1 <= count <= len(terms):
        raise WinnowError(
            f"Of {len(terms)} terms, between 1 and {len(terms)} can be asked for, not {count}.", key="keep"
        )
    return AtLeast(count, terms)


def leaves(node: Node) -> Iterator[Name | Compare | Known]:
    """Yield the names, comparisons and questions for a score that the expression is made of."""
    match node:
        case Name() | Compare() | Known():
            yield node
        case Not(term):
            yield from leaves(term)
        case Binary(_, left, right):
            yield from leaves(left)
            yield from leaves(right)
        case AtLeast(_, terms):
            for term in terms:
                yield from leaves(term)


def names(node: Node) -> Iterator[tuple[Name, bool]]:
    """Yield each name in the expression and whether its score (not its verdict) is asked for."""
    for leaf in leaves(node):
        yield (leaf, False) if isinstance(leaf, Name) else (leaf.signal, True)


def conjuncts(node: Node, parts: Mapping[str, Node]) -> list[Node]:
    """Return the terms that all must hold, with the parts among them taken apart.

    >>> about, nike, product = Name("about"), Name("nike"), Name("product")
    >>> [str(term) for term in conjuncts(about & ~(Name("ugly") | Name("heavy")), {"about": nike & product})]
    ['nike', 'product', '~(ugly | heavy)']
    """
    match node:
        case Binary("&", left, right):
            return conjuncts(left, parts) + conjuncts(right, parts)
        case Name(name) if name in parts:
            return conjuncts(parts[name], parts)
    return [node]


def expanded(node: Node, parts: Mapping[str, Node]) -> Node:
    """Return the expression with every part written out, so that it names signals only."""
    match node:
        case Name(name) if name in parts:
            return expanded(parts[name], parts)
        case Not(term):
            return Not(expanded(term, parts))
        case Binary(operator, left, right):
            return Binary(operator, expanded(left, parts), expanded(right, parts))
        case AtLeast(count, terms):
            return AtLeast(count, tuple(expanded(term, parts) for term in terms))
    return node


def without(node: Node, gone: Collection[str]) -> Node | None:
    """Return the expression less the names in ``gone``; None where nothing is left of it.

    >>> a, b, c = Name("a"), Name("b"), Name("c")
    >>> str(without(at_least(2, a, b, c) & ~(a | b), {"b"}))
    'at_least(2, a, c) & ~a'
    """
    match node:
        case Name(name) | Compare(Name(name)) | Known(Name(name)):
            return None if name in gone else node
        case Not(term):
            inner = without(term, gone)
            return None if inner is None else Not(inner)
        case Binary(operator, left, right):
            one, other = without(left, gone), without(right, gone)
            if one is None or other is None:
                return other if one is None else one
            return Binary(operator, one, other)
        case AtLeast(count, terms):
            rest = tuple(term for term in (without(term, gone) for term in terms) if term is not None)
            return AtLeast(min(count, len(rest)), rest) if rest else None


def evaluate(node: Node, verdicts: Mapping[str, Any], scores: Mapping[str, Any]) -> Any:
    """Return one verdict for each row in Kleene's logic, where null means "unknown".

    ``false & null`` is false and ``true | null`` is true; whatever else meets a null is null.

    Args:
        node: The expression.
        verdicts: A boolean array for each signal and each part that it names.
        scores: A float64 array for each signal.
    """
    match node:
        case Name(name):
            return verdicts[name]
        case Compare(signal, comparison, number):
            return COMPARISONS[comparison](scores[signal.name], number)
        case Known(signal):
            return pc.is_valid(scores[signal.name])
        case Not(term):
            return pc.invert(evaluate(term, verdicts, scores))
        case Binary(operator, left, right):
            return KLEENE[operator](evaluate(left, verdicts, scores), evaluate(right, verdicts, scores))
        case AtLeast(count, terms):
            return _at_least(count, [evaluate(term, verdicts, scores) for term in terms])


def _at_least(count: int, verdicts: list[Any]) -> Any:
    def total(null_is: bool) -> Any:
        return reduce(pc.add, (pc.fill_null(one, null_is).cast(pa.int32()) for one in verdicts))

    surely, possibly = pc.greater_equal(total(False), count), pc.greater_equal(total(True), count)
    # Where the nulls make the difference, nobody knows.
    return pc.if_else(pc.equal(surely, possibly), surely, pa.scalar(None, pa.bool_()))

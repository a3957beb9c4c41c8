"""Nodes of boolean expressions over named signals, and their evaluation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from winnow.errors import WinnowError

BINARY_OPERATORS = {"|": pc.or_kleene, "^": pc.xor, "&": pc.and_kleene}
"""Binary operators and their Arrow functions, from lowest to highest precedence. The order is the same as in Python."""

COMPARISONS = {
    ">": pc.greater,
    ">=": pc.greater_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    "==": pc.equal,
    "!=": pc.not_equal,
}


class Expression:
    """Base class of all nodes. Combine nodes with Python's ``&``, ``|``, ``^`` and ``~`` operators.

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
        # Without this error, Python would silently drop one operand of `a and b` or `0 < a < 1`.
        raise TypeError("an expression has no truth value. Combine terms with & | ^ ~ instead of and/or/not.")


@dataclass(frozen=True)
class Name(Expression):
    """The verdict of a signal, or the value of a named part.

    Attributes:
        name: The name of the signal or part.
        position: The index of the name's first character in the parsed text.
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
    """A check for whether a signal has a score for the row; the result is never null."""

    signal: Name

    def __str__(self) -> str:
        return f"known({self.signal})"


@dataclass(frozen=True)
class Not(Expression):
    """The negation of a term."""

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
        operands: list[Node] = []
        node: Node = self
        while isinstance(node, Binary) and node.operator == self.operator:  # chained operators are left-associative
            operands.append(node.right)
            node = node.left
        return f" {self.operator} ".join(map(self._format_operand, (node, *reversed(operands))))

    def _format_operand(self, operand: Node) -> str:
        needs_parentheses = isinstance(operand, Binary) and operand.operator != self.operator
        return f"({operand})" if needs_parentheses else str(operand)


@dataclass(frozen=True)
class AtLeast(Expression):
    """True if at least ``count`` of the terms are true."""

    count: int
    terms: tuple[Node, ...]

    def __str__(self) -> str:
        return f"at_least({', '.join(map(str, (self.count, *self.terms)))})"


Node = Name | Compare | Known | Not | Binary | AtLeast


def at_least(count: int, *terms: Node) -> AtLeast:
    """Return an expression that is true if at least ``count`` of ``terms`` are true.

    Raises:
        WinnowError: If the count is less than 1 or greater than the number of terms.
    """
    if not 1 <= count <= len(terms):
        raise WinnowError(
            f"expected a count from 1 to the number of terms ({len(terms)}), got {count}. Change the count, or add "
            "terms.",
            key="keep",
        )
    return AtLeast(count, terms)


def iter_leaves(node: Node) -> Iterator[Name | Compare | Known]:
    """Yield the leaves of an expression: names, comparisons and ``known`` checks."""
    match node:
        case Name() | Compare() | Known():
            yield node
        case Not(term):
            yield from iter_leaves(term)
        case Binary(_, left, right):
            yield from iter_leaves(left)
            yield from iter_leaves(right)
        case AtLeast(_, terms):
            for term in terms:
                yield from iter_leaves(term)


def iter_names(node: Node) -> Iterator[tuple[Name, bool]]:
    """Yield each name in an expression, with True if its score is used and False if its verdict is used."""
    for leaf in iter_leaves(node):
        yield (leaf, False) if isinstance(leaf, Name) else (leaf.signal, True)


def split_conjuncts(node: Node, parts: Mapping[str, Node]) -> list[Node]:
    """Return the terms joined by ``&`` at the top level; a term that is a part is replaced by the part's own terms.

    >>> about, nike, product = Name("about"), Name("nike"), Name("product")
    >>> [str(term) for term in split_conjuncts(about & ~(Name("ugly") | Name("heavy")), {"about": nike & product})]
    ['nike', 'product', '~(ugly | heavy)']
    """
    match node:
        case Binary("&", left, right):
            return split_conjuncts(left, parts) + split_conjuncts(right, parts)
        case Name(name) if name in parts:
            return split_conjuncts(parts[name], parts)
    return [node]


def measure_size(node: Node, parts: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Return an expression's number of leaves and its depth after its parts are expanded.

    Args:
        node: The expression.
        parts: The number of leaves and the depth of each part that the expression refers to.

    >>> a = Name("a")
    >>> measure_size(Name("p") & ~Name("p"), {"p": measure_size(a | a, {})})
    (4, 4)
    """
    match node:
        case Name(name) if name in parts:
            return parts[name]
        case Not(term):
            children = [measure_size(term, parts)]
        case Binary(_, left, right):
            children = [measure_size(left, parts), measure_size(right, parts)]
        case AtLeast(_, terms):
            children = [measure_size(term, parts) for term in terms]
        case _:
            return 1, 1
    return sum(leaves for leaves, _ in children), 1 + max(depth for _, depth in children)


def expand_parts(node: Node, parts: Mapping[str, Node]) -> Node:
    """Replace every part with its definition, so that the expression refers only to signals."""
    match node:
        case Name(name) if name in parts:
            return expand_parts(parts[name], parts)
        case Not(term):
            return Not(expand_parts(term, parts))
        case Binary(operator, left, right):
            return Binary(operator, expand_parts(left, parts), expand_parts(right, parts))
        case AtLeast(count, terms):
            return AtLeast(count, tuple(expand_parts(term, parts) for term in terms))
    return node


def remove_names(node: Node, removed: Collection[str]) -> Node | None:
    """Remove names from an expression; return None if no term remains.

    >>> a, b, c = Name("a"), Name("b"), Name("c")
    >>> str(remove_names(at_least(2, a, b, c) & ~(a | b), {"b"}))
    'at_least(2, a, c) & ~a'
    """
    match node:
        case Name(name) | Compare(Name(name)) | Known(Name(name)):
            return None if name in removed else node
        case Not(term):
            inner = remove_names(term, removed)
            return None if inner is None else Not(inner)
        case Binary(operator, left, right):
            new_left, new_right = remove_names(left, removed), remove_names(right, removed)
            if new_left is None or new_right is None:
                return new_right if new_left is None else new_left
            return Binary(operator, new_left, new_right)
        case AtLeast(count, terms):
            remaining = tuple(term for term in (remove_names(term, removed) for term in terms) if term is not None)
            return AtLeast(min(count, len(remaining)), remaining) if remaining else None


def evaluate(node: Node, verdicts: Mapping[str, Any], scores: Mapping[str, Any]) -> Any:
    """Evaluate an expression on every row in Kleene's three-valued logic, in which null means "unknown".

    ``false & null`` is false, and ``true | null`` is true. Any other ``&``, ``|``, ``^`` or ``~`` with a null operand
    is null.

    Args:
        node: The expression.
        verdicts: A boolean array for each signal and part in the expression.
        scores: A float64 array for each signal.

    Returns:
        A boolean array with one value per row.
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
            return BINARY_OPERATORS[operator](evaluate(left, verdicts, scores), evaluate(right, verdicts, scores))
        case AtLeast(count, terms):
            return _evaluate_at_least(count, [evaluate(term, verdicts, scores) for term in terms])


def _evaluate_at_least(count: int, verdicts: list[Any]) -> Any:
    def count_true(null_value: bool) -> Any:
        return reduce(pc.add, (pc.fill_null(verdict, null_value).cast(pa.int32()) for verdict in verdicts))

    lowest, highest = pc.greater_equal(count_true(False), count), pc.greater_equal(count_true(True), count)
    # The result is null if it depends on whether the nulls count as true or false.
    return pc.if_else(pc.equal(lowest, highest), lowest, pa.scalar(None, pa.bool_()))

"""Boolean expressions over named signals: parsed, checked, never evaluated as code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from winnow.errors import WinnowError

# Loosest first. Exclusive or stands between `|` and `&`, as in Python.
_OPERATORS = ("|", "^", "&")
_KLEENE = {"|": pc.or_kleene, "^": pc.xor, "&": pc.and_kleene}
_COMPARISONS = {
    ">": pc.greater,
    ">=": pc.greater_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    "==": pc.equal,
    "!=": pc.not_equal,
}
_TOKEN = re.compile(
    r"(?P<name>[^\W\d]\w*)|(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<comparison>[<>]=?|[=!]=)|(?P<operator>[|^&~()])|(?P<space>\s+)|(?P<unknown>.)"
)


@dataclass(frozen=True)
class Name:
    """The verdict of a signal or of a part."""

    name: str
    position: int

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Compare:
    """A comparison of a signal's score with a number."""

    signal: Name
    comparison: str
    number: float

    def __str__(self) -> str:
        return f"{self.signal} {self.comparison} {self.number:g}"


@dataclass(frozen=True)
class Not:
    """The opposite."""

    term: Node

    def __str__(self) -> str:
        return f"~({self.term})" if isinstance(self.term, Binary | Compare) else f"~{self.term}"


@dataclass(frozen=True)
class Binary:
    """Two terms joined by ``&``, ``|`` or ``^``."""

    operator: str
    left: Node
    right: Node

    def __str__(self) -> str:
        return f" {self.operator} ".join(self._side(side) for side in (self.left, self.right))

    def _side(self, side: Node) -> str:
        return f"({side})" if isinstance(side, Binary) and side.operator != self.operator else str(side)


Node = Name | Compare | Not | Binary


def parse(text: str, key: str) -> Node:
    """Parse an expression.

    ``~`` binds most tightly, then ``&``, ``^`` and ``|``. A comparison such as ``sentiment > 0.3`` is a term
    of its own and needs no parentheses.

    Args:
        text: The expression.
        key: Where it stands, for errors.

    Raises:
        WinnowError: It cannot be parsed; the message marks the place.
    """
    return _Parser(text, key).parse()


def names(node: Node) -> Iterator[tuple[Name, bool]]:
    """Yield each name in the expression and whether its score (not its verdict) is asked for."""
    match node:
        case Name():
            yield node, False
        case Compare(signal):
            yield signal, True
        case Not(term):
            yield from names(term)
        case Binary(_, left, right):
            yield from names(left)
            yield from names(right)


def conjuncts(node: Node, parts: Mapping[str, Node]) -> list[Node]:
    """Return the terms that all must hold, with the parts among them taken apart.

    >>> parts = {"about_nike": parse("nike & product", "parts.about_nike")}
    >>> [str(term) for term in conjuncts(parse("about_nike & ~(ugly | heavy)", "keep"), parts)]
    ['nike', 'product', '~(ugly | heavy)']
    """
    match node:
        case Binary("&", left, right):
            return conjuncts(left, parts) + conjuncts(right, parts)
        case Name(name) if name in parts:
            return conjuncts(parts[name], parts)
    return [node]


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
            return _COMPARISONS[comparison](scores[signal.name], number)
        case Not(term):
            return pc.invert(evaluate(term, verdicts, scores))
        case Binary(operator, left, right):
            return _KLEENE[operator](evaluate(left, verdicts, scores), evaluate(right, verdicts, scores))


def fault_at(text: str, key: str, position: int, what: str) -> WinnowError:
    """Return an error that quotes the expression with a mark under one position."""
    return WinnowError(f"{what}\n    {text}\n    {' ' * position}^", key=key)


class _Parser:
    """A recursive descent over the tokens of one expression."""

    def __init__(self, text: str, key: str) -> None:
        self.text = text.replace("\n", " ")
        self.key = key
        self.tokens = [
            (str(match.lastgroup), match.group(), match.start())
            for match in _TOKEN.finditer(self.text)
            if match.lastgroup != "space"
        ]
        self.tokens.append(("end", "", len(self.text)))
        self.place = 0

    def parse(self) -> Node:
        node = self._binary(0)
        kind, symbol, position = self.tokens[self.place]
        if kind == "end":
            return node
        if symbol == ")":
            raise self._fault(position, "This ')' closes nothing.")
        raise self._fault(position, f"Expected an operator (& | ^) before '{symbol}'.")

    def _binary(self, level: int) -> Node:
        if level == len(_OPERATORS):
            return self._term()
        node = self._binary(level + 1)
        while self._take(_OPERATORS[level]):
            node = Binary(_OPERATORS[level], node, self._binary(level + 1))
        return node

    def _term(self) -> Node:
        kind, symbol, position = self.tokens[self.place]
        self.place += 1
        match symbol:
            case "~":
                return Not(self._term())
            case "(":
                return self._group(position)
            case _ if kind == "name":
                return self._compared(Name(symbol, position))
            case "":
                raise self._fault(position, "The expression ends where a name, '~' or '(' is expected.")
            case _:
                raise self._fault(position, f"Expected a name, '~' or '(' instead of '{symbol}'.")

    def _group(self, opened: int) -> Node:
        node = self._binary(0)
        if self.tokens[self.place][0] == "end":
            raise self._fault(opened, "This '(' is never closed.")
        if not self._take(")"):
            symbol, position = self.tokens[self.place][1:]
            raise self._fault(position, f"Expected an operator (& | ^) or ')' before '{symbol}'.")
        return node

    def _compared(self, name: Name) -> Node:
        kind, comparison, _ = self.tokens[self.place]
        if kind != "comparison":
            return name
        kind, number, position = self.tokens[self.place + 1]
        if kind != "number":
            raise self._fault(position, f"Expected a number after '{comparison}'.")
        self.place += 2
        return Compare(name, comparison, float(number))

    def _take(self, symbol: str) -> bool:
        if self.tokens[self.place][1] != symbol:
            return False
        self.place += 1
        return True

    def _fault(self, position: int, what: str) -> WinnowError:
        return fault_at(self.text, self.key, position, what)

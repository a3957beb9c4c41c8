"""From text to expression: parsed and checked, never evaluated as code."""

from __future__ import annotations

import functools
import re

from winnow.errors import WinnowError
from winnow.filters.expression import KLEENE, AtLeast, Binary, Compare, Known, Name, Node, Not

_OPERATORS = tuple(KLEENE)  # loosest first
_TOKEN = re.compile(
    r"(?P<name>[^\W\d]\w*)|(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<comparison>[<>]=?|[=!]=)|(?P<operator>[|^&~(),])|(?P<space>\s+)|(?P<unknown>.)"
)


@functools.lru_cache(maxsize=256)
def parse(text: str, key: str = "keep") -> Node:
    """Parse an expression; the same text is parsed once per process, since the result is immutable.

    ``~`` binds most tightly, then ``&``, ``^`` and ``|``. A comparison such as ``sentiment > 0.3`` is a term
    of its own and needs no parentheses; ``at_least(2, a, b, c)`` holds where two of three terms do, and
    ``known(sentiment)`` where that signal has a score.

    Args:
        text: The expression.
        key: Where it stands, for errors.

    Raises:
        WinnowError: It cannot be parsed; the message marks the place.
    """
    return _Parser(text, key).parse()


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
            case "at_least" if self._take("("):
                return self._counted(position)
            case "known" if self._take("("):
                return self._known()
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

    def _counted(self, opened: int) -> Node:
        kind, number, position = self.tokens[self.place]
        if kind != "number" or not number.isdecimal():
            raise self._fault(position, "Expected a whole number after 'at_least('.")
        self.place += 1
        terms = []
        while self._take(","):
            terms.append(self._binary(0))
        if self.tokens[self.place][0] == "end":
            raise self._fault(opened, "This 'at_least(' is never closed.")
        if not self._take(")"):
            symbol, place = self.tokens[self.place][1:]
            raise self._fault(place, f"Expected ',' or ')' before '{symbol}'.")
        if not 1 <= int(number) <= len(terms):
            raise self._fault(position, f"Of {len(terms)} terms, {number} cannot be asked for.")
        return AtLeast(int(number), tuple(terms))

    def _known(self) -> Node:
        kind, name, position = self.tokens[self.place]
        if kind != "name":
            raise self._fault(position, "Expected the name of a signal after 'known('.")
        self.place += 1
        if not self._take(")"):
            symbol, place = self.tokens[self.place][1:]
            raise self._fault(place, f"Expected ')' before '{symbol}'." if symbol else "This 'known(' is never closed.")
        return Known(Name(name, position))

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

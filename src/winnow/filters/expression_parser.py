"""Parse the text of an expression into nodes. The text is never executed as Python code."""

from __future__ import annotations

import functools
import re

from winnow.errors import WinnowError
from winnow.filters.expression import BINARY_OPERATORS, AtLeast, Binary, Compare, Known, Name, Node, Not

_QUOTED_CHARACTERS = 300
"""The number of characters before and after an error's position that are quoted in the message."""
_MAX_CHARACTERS = 20_000
_MAX_DEPTH = 50
_MAX_TERMS = 150
"""Maximum number of consecutive `&`, `|` or `^` operators that are not separated by parentheses."""
_OPERATORS = tuple(BINARY_OPERATORS)  # lowest precedence first
_TOKEN = re.compile(
    r"(?P<name>[^\W\d]\w*)|(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<comparison>[<>]=?|[=!]=)|(?P<operator>[|^&~(),])|(?P<space>\s+)|(?P<unknown>.)"
)


@functools.lru_cache(maxsize=256)
def parse(text: str, key: str = "keep") -> Node:
    """Parse an expression. The result is immutable and cached.

    ``~`` has the highest precedence, followed by ``&``, ``^`` and ``|``. A comparison such as ``sentiment > 0.3`` does
    not need parentheses. ``at_least(2, a, b, c)`` is true if at least two of the terms are true, and
    ``known(sentiment)`` is true if the signal has a score.

    Args:
        text: The expression.
        key: The expression's configuration key, as shown in error messages.

    Raises:
        WinnowError: If the text cannot be parsed. The message marks the position of the error.
    """
    return _Parser(text, key).parse()


def build_position_error(text: str, key: str, position: int, message: str) -> WinnowError:
    """Return an error that quotes the expression and marks a position in the quoted text."""
    start = max(0, position - _QUOTED_CHARACTERS)
    quote = text[start : position + _QUOTED_CHARACTERS]
    return WinnowError(f"{message}\n    {quote}\n    {' ' * (position - start)}^", key=key)


class _Parser:
    """A recursive-descent parser for a single expression."""

    def __init__(self, text: str, key: str) -> None:
        if len(text) > _MAX_CHARACTERS:
            message = f"expected at most {_MAX_CHARACTERS:,} characters, got {len(text):,}. Shorten the expression."
            raise WinnowError(message, key=key)
        self.text = text.replace("\n", " ")
        self.key = key
        self.depth = 0
        self.tokens = [
            (str(match.lastgroup), match.group(), match.start())
            for match in _TOKEN.finditer(self.text)
            if match.lastgroup != "space"
        ]
        self.tokens.append(("end", "", len(self.text)))
        self.index = 0

    def parse(self) -> Node:
        node = self._parse_binary(0)
        kind, symbol, position = self.tokens[self.index]
        if kind == "end":
            return node
        if symbol == ")":
            raise self._error(position, "this ')' has no matching '('. Remove it.")
        raise self._error(position, f"expected an operator (& | ^) before '{symbol}'. Add an operator.")

    def _parse_binary(self, level: int) -> Node:
        if level == len(_OPERATORS):
            return self._parse_term()
        node = self._parse_binary(level + 1)
        count = 0
        while self._accept(_OPERATORS[level]):
            node = Binary(_OPERATORS[level], node, self._parse_binary(level + 1))
            count += 1
            if count > _MAX_TERMS:
                message = f"expected at most {_MAX_TERMS} terms in a row. Use at_least(1, a, b, ...) for a long list."
                raise self._error(self.tokens[self.index][2], message)
        return node

    def _parse_term(self) -> Node:
        position = self.tokens[self.index][2]
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self._error(
                position,
                f"the expression is nested more than {_MAX_DEPTH} levels deep. Move nested terms into `parts`.",
            )
        node = self._parse_term_at_any_depth()
        self.depth -= 1
        return node

    def _parse_term_at_any_depth(self) -> Node:
        kind, symbol, position = self.tokens[self.index]
        self.index += 1
        match symbol:
            case "~":
                return Not(self._parse_term())
            case "(":
                return self._parse_group(position)
            case "at_least" if self._accept("("):
                return self._parse_at_least(position)
            case "known" if self._accept("("):
                return self._parse_known()
            case _ if kind == "name":
                return self._parse_comparison(Name(symbol, position))
            case "":
                raise self._error(
                    position, "expected a name, '~' or '(', got the end of the expression. Complete the expression."
                )
            case _:
                raise self._error(position, f"expected a name, '~' or '(', got '{symbol}'. Correct the expression.")

    def _parse_group(self, start: int) -> Node:
        node = self._parse_binary(0)
        if self.tokens[self.index][0] == "end":
            raise self._error(start, "this '(' is not closed. Add a ')'.")
        if not self._accept(")"):
            symbol, position = self.tokens[self.index][1:]
            raise self._error(
                position, f"expected an operator (& | ^) or ')' before '{symbol}'. Add an operator or ')'."
            )
        return node

    def _parse_at_least(self, start: int) -> Node:
        kind, number, position = self.tokens[self.index]
        if kind != "number" or not number.isdecimal():
            raise self._error(position, "expected a whole number after 'at_least('. Example: at_least(2, a, b, c).")
        self.index += 1
        terms = []
        while self._accept(","):
            terms.append(self._parse_binary(0))
        if self.tokens[self.index][0] == "end":
            raise self._error(start, "this 'at_least(' is not closed. Add a ')'.")
        if not self._accept(")"):
            symbol, position = self.tokens[self.index][1:]
            raise self._error(position, f"expected ',' or ')' before '{symbol}'. Add ',' or ')'.")
        if not 1 <= int(number) <= len(terms):
            message = f"expected a count from 1 to the number of terms ({len(terms)}), got {number}. Change the count."
            raise self._error(position, message)
        return AtLeast(int(number), tuple(terms))

    def _parse_known(self) -> Node:
        kind, name, position = self.tokens[self.index]
        if kind != "name":
            raise self._error(position, "expected the name of a signal after 'known('. Example: known(sentiment).")
        self.index += 1
        if not self._accept(")"):
            symbol, position = self.tokens[self.index][1:]
            message = (
                f"expected ')' before '{symbol}'. Remove '{symbol}' or add a ')'."
                if symbol
                else "this 'known(' is not closed. Add a ')'."
            )
            raise self._error(position, message)
        return Known(Name(name, position))

    def _parse_comparison(self, name: Name) -> Node:
        kind, comparison, _ = self.tokens[self.index]
        if kind != "comparison":
            return name
        kind, number, position = self.tokens[self.index + 1]
        if kind != "number":
            raise self._error(position, f"expected a number after '{comparison}'. Example: sentiment {comparison} 0.3.")
        self.index += 2
        return Compare(name, comparison, float(number))

    def _accept(self, symbol: str) -> bool:
        if self.tokens[self.index][1] != symbol:
            return False
        self.index += 1
        return True

    def _error(self, position: int, message: str) -> WinnowError:
        return build_position_error(self.text, self.key, position, message)

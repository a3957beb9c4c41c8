from __future__ import annotations

from itertools import product
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import WinnowError
from winnow.filters.expression import AtLeast, Binary, Compare, Known, Name, Node, Not, at_least, evaluate, remove_names
from winnow.filters.expression_parser import parse

THREE = [True, False, None]
TEXT = "keep"


def verdict(text: str, scores: dict[str, Any] | None = None, **verdicts: bool | None) -> bool | None:
    arrays = {name: pa.array([value], pa.bool_()) for name, value in verdicts.items()}
    numbers = {name: pa.array([value], pa.float64()) for name, value in (scores or {}).items()}
    result: bool | None = evaluate(parse(text, TEXT), arrays, numbers)[0].as_py()
    return result


def kleene_and(a: bool | None, b: bool | None) -> bool | None:
    return False if a is False or b is False else None if a is None or b is None else True


def kleene_not(a: bool | None) -> bool | None:
    return None if a is None else not a


def kleene_or(a: bool | None, b: bool | None) -> bool | None:
    return kleene_not(kleene_and(kleene_not(a), kleene_not(b)))


def kleene_xor(a: bool | None, b: bool | None) -> bool | None:
    return None if a is None or b is None else a != b


@pytest.mark.parametrize(("a", "b"), list(product(THREE, THREE)))
def test_the_truth_table_of_three_values(a: bool | None, b: bool | None) -> None:
    assert verdict("a & b", a=a, b=b) is kleene_and(a, b)
    assert verdict("a | b", a=a, b=b) is kleene_or(a, b)
    assert verdict("a ^ b", a=a, b=b) is kleene_xor(a, b)
    assert verdict("~a", a=a) is kleene_not(a)


@pytest.mark.parametrize(("a", "b", "c"), list(product(THREE, THREE, THREE)))
def test_not_binds_before_and_before_xor_before_or(a: Any, b: Any, c: Any) -> None:
    assert verdict("a | b & c", a=a, b=b, c=c) is kleene_or(a, kleene_and(b, c))
    assert verdict("a & b | c", a=a, b=b, c=c) is kleene_or(kleene_and(a, b), c)
    assert verdict("a ^ b & c", a=a, b=b, c=c) is kleene_xor(a, kleene_and(b, c))
    assert verdict("a | b ^ c", a=a, b=b, c=c) is kleene_or(a, kleene_xor(b, c))
    assert verdict("~a & b", a=a, b=b) is kleene_and(kleene_not(a), b)
    assert verdict("~(a | b) & ~~c", a=a, b=b, c=c) is kleene_and(kleene_not(kleene_or(a, b)), c)


@pytest.mark.parametrize(
    ("comparison", "below", "at", "above"),
    [
        (">", False, False, True),
        (">=", False, True, True),
        ("<", True, False, False),
        ("<=", True, True, False),
        ("==", False, True, False),
        ("!=", True, False, True),
    ],
)
def test_comparisons_use_scores(comparison: str, below: bool, at: bool, above: bool) -> None:
    for score, expected in ((-0.6, below), (-0.5, at), (0.5, above), (None, None)):
        assert verdict(f"s {comparison} -0.5", {"s": score}) is expected


@pytest.mark.parametrize("number", ["0.3", ".3", "3e-1", "-0", "12", "1."])
def test_number_formats(number: str) -> None:
    tree = parse(f"s>{number}", TEXT)
    assert isinstance(tree, Compare)
    assert tree.number == float(number)


def test_a_comparison_binds_before_everything_else() -> None:
    assert verdict("~s > 0.3 & a", {"s": 0.1}, a=True) is True
    assert verdict("a & s > 0.3 | b", {"s": 0.1}, a=True, b=False) is False


@pytest.mark.parametrize(("a", "b", "c"), list(product(THREE, THREE, THREE)))
def test_at_least_is_null_only_if_the_nulls_decide(a: Any, b: Any, c: Any) -> None:
    def expected_verdict(count: int) -> bool | None:
        outcomes = {
            sum(x or y for x, y in zip((a is True, b is True, c is True), values, strict=True)) >= count
            for values in product(*([False, True] if value is None else [False] for value in (a, b, c)))
        }
        return outcomes.pop() if len(outcomes) == 1 else None

    for count in (1, 2, 3):
        assert verdict(f"at_least({count}, a, b, c)", a=a, b=b, c=c) is expected_verdict(count)


def test_python_operators_write_the_same_expressions() -> None:
    a, b, c = Name("a"), Name("b"), Name("c")
    assert str(a & ~(b | c) ^ at_least(1, b, c > 0.25)) == "(a & ~(b | c)) ^ at_least(1, b, c > 0.25)"
    assert [str(one) for one in (a > 1, a >= 1, a < 1, a <= 1, a > 1)] == [
        "a > 1",
        "a >= 1",
        "a < 1",
        "a <= 1",
        "a > 1",
    ]
    for chained in (lambda: a and b, lambda: 0 < a < 1, lambda: not a):
        with pytest.raises(TypeError, match="Combine terms with"):
            chained()
    with pytest.raises(WinnowError, match=r"from 1 to the number of terms \(1\)"):
        at_least(2, a)


@pytest.mark.parametrize(
    ("text", "removed", "expected"),
    [
        ("a & b & ~c", "b", "a & ~c"),
        ("a & ~(b | b > 2)", "b", "a"),
        ("(a | b) & c", "b", "a & c"),
        ("at_least(2, a, b)", "a", "at_least(1, b)"),
        ("b ^ ~b", "b", None),
        ("a & known(b) & known(a)", "b", "a & known(a)"),
    ],
)
def test_names_can_be_removed(text: str, removed: str, expected: str | None) -> None:
    reduced = remove_names(parse(text), {removed})
    assert (None if reduced is None else str(reduced)) == expected


def test_known_is_never_null() -> None:
    assert verdict("known(s) | a", {"s": 0.0}, a=None) is True
    assert verdict("known(s)", {"s": None}) is False
    assert verdict("~known(s)", {"s": None}) is True
    assert verdict("known & known(known)", {"known": 1.0}, known=True) is True
    assert str(parse("~known( s )&a")) == "~known(s) & a"


names = st.sampled_from(["a", "b", "c"]).map(lambda name: Name(name, 0))
trees: st.SearchStrategy[Node] = st.recursive(
    names
    | st.builds(Known, names)
    | st.builds(Compare, names, st.sampled_from([">", "<="]), st.sampled_from([0.0, -0.5, 1 / 3])),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(Binary, st.sampled_from("&|^"), inner, inner)
        | st.builds(AtLeast, st.just(1), st.tuples(inner, inner))
    ),
    max_leaves=12,
)


@given(trees)
def test_an_expression_survives_formatting_and_parsing(tree: Node) -> None:
    verdicts = {
        name: pa.array(column) for name, column in zip("abc", zip(*product(THREE, repeat=3), strict=True), strict=True)
    }
    scores = {name: pa.array([-1.0, 0.0, None] * 9) for name in "abc"}
    parsed = parse(str(tree), TEXT)
    assert evaluate(parsed, verdicts, scores).equals(evaluate(tree, verdicts, scores))


@pytest.mark.parametrize(
    ("text", "message", "marked"),
    [
        ("nike & (product | shoe", "'(' is not closed", 7),
        ("nike & product)", "')' has no matching '('", 14),
        ("nike product", "expected an operator (& | ^) before 'product'", 5),
        ("(nike product)", "expected an operator (& | ^) or ')' before 'product'", 6),
        ("nike &", "got the end of the expression", 6),
        ("", "got the end of the expression", 0),
        ("nike & & product", "got '&'", 7),
        ("()", "got ')'", 1),
        ("nike and product", "before 'and'", 5),
        ("nike > product", "expected a number after '>'", 7),
        ("0.3 < nike", "got '0.3'", 0),
        ("nike = 3", "before '='", 5),
        ("__import__('os')", "before '('", 10),
        ("at_least(2, a b)", "expected ',' or ')' before 'b'", 14),
        ("at_least(3, a, b)", "expected a count from 1 to the number of terms (2), got 3", 9),
        ("at_least(a, b)", "expected a whole number", 9),
        ("at_least(1, a", "'at_least(' is not closed", 0),
        ("nike\n& @", "got '@'", 7),
        ("known(3)", "expected the name of a signal", 6),
        ("known(a", "'known(' is not closed", 7),
        ("known(a, b)", "expected ')' before ','", 7),
    ],
)
def test_an_error_marks_its_position(text: str, message: str, marked: int) -> None:
    with pytest.raises(WinnowError) as caught:
        parse(text, "parts.x")
    assert message in caught.value.message
    assert caught.value.key == "parts.x"
    _, quoted, mark = caught.value.message.split("\n")
    assert quoted.strip() == text.replace("\n", " ")
    assert mark.index("^") - 4 == marked

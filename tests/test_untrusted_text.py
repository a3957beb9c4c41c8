"""The rule for names, and escaping."""

import csv
import io

import pytest

from winnow.untrusted_text import (
    MAX_NAME_LENGTH,
    check_name,
    check_web_address,
    escape_markdown,
    neutralize_formula,
    sanitize_file_name,
)

UNSAFE_NAMES = [
    "",
    ".",
    "..",
    "../../x",
    "/tmp/x",
    "a/b",
    "a\\b",
    "-m",
    ".hidden",
    "a b",
    "a\n",
    "a\0b",
    "[red]x",
    "<b>",
    "=1+1",
    "caf\u00e9",
    "x" * (MAX_NAME_LENGTH + 1),
    "cache",
    "Cache",
    "artifacts",
    "filters",
    "unsent",
    "mlflow.db",
    "mlflow.db-wal",
]


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_an_unsafe_name_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match="Choose another name"):
        check_name(name)


@pytest.mark.parametrize("name", ["nike_positive", "2024", "_private", "a.b-c", "x" * MAX_NAME_LENGTH, "caches"])
def test_a_safe_name_is_returned(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "data:text/html,x", "ftp://host", "//host", "http://", 'http://a"onclick="b', "http://a b"],
)
def test_an_address_of_another_scheme_is_rejected(address: str) -> None:
    with pytest.raises(ValueError, match="http://"):
        check_web_address(address)


def test_web_addresses_are_returned() -> None:
    for address in ("http://127.0.0.1:5000", "https://mlflow.example.org/base/"):
        assert check_web_address(address) == address


@pytest.mark.parametrize("text", [*UNSAFE_NAMES, "a" * 300, "../../etc/passwd", "\ud800"])
def test_a_file_name_stays_in_its_folder(text: str) -> None:
    name = sanitize_file_name(text)
    assert 0 < len(name) <= MAX_NAME_LENGTH + 9
    assert "/" not in name
    assert "\\" not in name
    assert not name.startswith(".")


def test_long_texts_with_the_same_start_have_different_file_names() -> None:
    assert sanitize_file_name("a" * 200) != sanitize_file_name("a" * 201)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_formula_is_neutralized(start: str) -> None:
    assert neutralize_formula(f'{start}HYPERLINK("http://a")').startswith("'")


@pytest.mark.parametrize("number", ["-1", "+0.5", "-1e-5", "-.5", "-inf", "12", ""])
def test_numbers_are_not_changed(number: str) -> None:
    assert neutralize_formula(number) == number


def test_a_neutralized_cell_is_read_back_as_one_cell() -> None:
    stream = io.StringIO()
    csv.writer(stream).writerow([neutralize_formula('=cmd|"/c calc"!A1,b'), "c"])
    assert next(csv.reader(io.StringIO(stream.getvalue()))) == ['\'=cmd|"/c calc"!A1,b', "c"]


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("![x](http://a)", "!\\[x](http://a)"),
        ("\\[x](http://a)", "\\\\\\[x](http://a)"),
        ("a | b\n# c", "a \\| b # c"),
        ("R&D, p < 0.01", "R&D, p < 0.01"),
        ("&#60;b> &lt;", "&amp;#60;b> &amp;lt;"),
        ("<!-- x --><?y?>", "&lt;!-- x -->&lt;?y?>"),
    ],
)
def test_markdown_is_escaped(text: str, markdown: str) -> None:
    assert escape_markdown(text) == markdown

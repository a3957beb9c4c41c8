from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from winnow.data import Files
from winnow.errors import WinnowError

Write = Callable[..., Path]


def texts(path: Path, *columns: str, joiner: str = " ") -> list[str | None]:
    read: list[str | None] = Files(path=path, text=list(columns), joiner=joiner).read()["text"].to_pylist()
    return read


def test_columns_are_joined_in_the_order_asked_for(write_csv: Write) -> None:
    path = write_csv("title,n,body\nGood,1,Fits well\n")
    assert texts(path, "body", "title", joiner=". ") == ["Fits well. Good"]


def test_only_cells_without_text_are_null(write_csv: Write) -> None:
    path = write_csv('a,b\nnan,\n,NA\n,\n" ",""\nnull,None\n')
    assert texts(path, "a", "b") == ["nan", "NA", None, None, "null None"]


def test_numbers_stay_as_they_are_written(write_csv: Write) -> None:
    assert texts(write_csv("stars\n5\n\n4.50\n007\n"), "stars") == ["5", "4.50", "007"]


def test_quotes_line_breaks_and_a_byte_order_mark(write_csv: Write) -> None:
    path = write_csv('\ufefftext,x\r\n"He said ""go"", then\nleft",1\r\n5\'8" tall,2\r\n')
    assert texts(path, "text") == ['He said "go", then\nleft', "5'8\" tall"]


def test_separator_and_encoding_can_be_chosen(write_csv: Write) -> None:
    path = write_csv("text\tx\ncafé, bar\t1\n".encode("cp1252"))
    source = Files(path=path, text=["text"], separator="\t", encoding="cp1252")
    assert source.read()["text"].to_pylist() == ["café, bar"]


def test_a_cell_may_be_as_long_as_a_book(write_csv: Write) -> None:
    assert texts(write_csv(f"text\n{'long ' * 200_000}\n"), "text") == ["long " * 200_000]


def test_labels_are_whole_numbers_or_null(write_csv: Write) -> None:
    table = Files(path=write_csv("text,y\na,1\nb,0.0\nc,\n"), text=["text"], label="y").read()
    assert table.schema.field("label").type == pa.int64()
    assert table["label"].to_pylist() == [1, 0, None]


def test_labels_may_be_words(write_csv: Write) -> None:
    table = Files(path=write_csv("text,y\na,good\nb, bad\nc,\nd,1\n"), text=["text"], label="y").read()
    assert table.schema.field("label").type == pa.string()
    assert table["label"].to_pylist() == ["good", "bad", None, "1"]


def test_columns_given_by_name_have_the_type_of_their_values(write_csv: Write) -> None:
    path = write_csv("text,stars,size,empty\na,4.5,M,\nb,,10,\nc,3,L,\n")
    table = Files(path=path, text=["text"], columns=["stars", "size", "empty"]).read()
    assert table["stars"].to_pylist() == [4.5, None, 3.0]
    assert table["size"].to_pylist() == ["M", "10", "L"]
    assert table["empty"].null_count == 3


def test_no_advice_drops_every_row_because_of_a_wrong_type(write_csv: Write) -> None:
    path = write_csv("text,size\na,M\nb,L\n")
    with pytest.raises(WinnowError, match="or set the type of 'size' to string") as raised:
        Files(path=path, text=["text"], columns={"size": "number"}).read()
    assert "on_error" not in str(raised.value)
    with pytest.raises(WinnowError, match="a column with columns=") as raised:
        Files(path=write_csv("text,y\na,4.5\n"), text=["text"], label="y").read()
    assert "on_error" not in str(raised.value)


@pytest.mark.parametrize("cell", ["4.5", "inf", "nan", "1e30"])
def test_another_label_is_a_fault_with_its_line(write_csv: Write, cell: str) -> None:
    with pytest.raises(WinnowError, match=rf"line 3 of .* got '{cell}'") as caught:
        Files(path=write_csv(f"text,y\na,1\nb,{cell}\n"), text=["text"], label="y").read()
    assert caught.value.key == "label"


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    source = Files(path=tmp_path / "none.csv", text=["text"], homepage="example.org, reviews")
    [fault] = source.check()
    assert fault.key == "path"
    assert "none.csv" in fault.message
    assert "Download it from example.org, reviews" in fault.message
    for work in (source.read, source.fingerprint):
        with pytest.raises(WinnowError, match="there is no file"):
            work()


def test_every_missing_column_is_told_at_once(write_csv: Write) -> None:
    source = Files(path=write_csv("Title,Review Text\na,b\n"), text=["Titel", "Review"], label="Stars")
    faults = source.check()
    assert [fault.key for fault in faults] == ["text", "text", "label"]
    assert "no column 'Titel'. Did you mean 'Title'?" in faults[0].message
    assert all("Allowed: 'Title', 'Review Text'." in fault.message for fault in faults)
    with pytest.raises(WinnowError, match="no column 'Titel'"):
        source.read()


def test_a_column_name_that_is_there_twice_is_a_fault(write_csv: Write) -> None:
    [fault] = Files(path=write_csv("a,a\n1,2\n"), text=["a"]).check()
    assert "has 2 columns named 'a'" in fault.message


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('text,x\na,1\n"never closed,2\nb,3\n', "line 3 .*a quote is not closed"),
        ('text,x\n"two\nlines",1\n"a"b,2\n', "line 4 .*expected after"),
        ("text,x\na,1\nb\n", "line 3 .*expected 2 cells, as in the header, got 1"),
        ("text,x\na,1\n\nb,2,3\n", "line 4 .*expected 2 cells, as in the header, got 3"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(write_csv: Write, content: str, what: str) -> None:
    with pytest.raises(WinnowError, match=f"(?s){what}") as caught:
        texts(write_csv(content), "text")
    assert "texts.csv" in caught.value.message
    assert caught.value.key == "path"


def test_bytes_of_another_encoding_are_named_by_line(write_csv: Write) -> None:
    path = write_csv(b"\xef\xbb\xbftext\n" + b"plain\n" * 5_000 + b"caf\xe9\n")
    with pytest.raises(WinnowError, match="byte 0xe9 on line 5002 is not valid utf-8-sig") as caught:
        texts(path, "text")
    assert caught.value.key == "encoding"


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_a_fault(write_csv: Write, content: str) -> None:
    [fault] = Files(path=write_csv(content), text=["text"]).check()
    assert "is empty" in fault.message


def test_a_folder_and_an_unknown_encoding_are_faults(tmp_path: Path, write_csv: Write) -> None:
    [fault] = Files(path=tmp_path, text=["text"]).check()
    assert "no file with the extension .csv" in fault.message
    [fault] = Files(path=write_csv("text\na\n"), text=["text"], encoding="utf-9").check()
    assert fault.key == "encoding"


def test_the_fingerprint_follows_content_and_settings_and_not_the_place(write_csv: Write) -> None:
    one, copy = write_csv("a,b\n1,2\n", "one.csv"), write_csv("a,b\n1,2\n", "copy.csv")
    other = write_csv("a,b\n1,3\n", "other.csv")
    base = Files(path=one, text=["a"])
    assert base.fingerprint() == Files(path=copy, text=["a"], homepage="x", licence="y").fingerprint()
    others = [
        Files(path=other, text=["a"]),
        Files(path=one, text=["b"]),
        Files(path=one, text=["a"], joiner="-"),
        Files(path=one, text=["a"], label="b"),
    ]
    assert len({base.fingerprint(), *(source.fingerprint() for source in others)}) == 5


def test_faults_of_value_are_found_when_it_is_made(tmp_path: Path) -> None:
    for settings in ({"text": []}, {"text": ["a"], "separator": ";;"}, {"text": ["a"], "lable": "b"}):
        with pytest.raises(ValidationError):
            Files(path=tmp_path, **settings)  # type: ignore[arg-type]

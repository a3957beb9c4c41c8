"""Lexicon files and their errors."""

from pathlib import Path

import pytest

from winnow.errors import WinnowError, WinnowErrors
from winnow.evaluation import Probe, read_lexicon
from winnow.evaluation.probes.lexicon import load_opinion_lexicon

GOOD = "# version: 3\nword,role\ndurable,wanted\n\nugly,unwanted\nugly,forbidden\n'good, cheap',wanted\n".replace(
    "'", '"'
)


def write_lexicon(tmp_path: Path, text: str) -> str:
    (tmp_path / "mine.csv").write_text(text, "utf-8")
    return str(tmp_path / "mine.csv")


def error_messages(path: str) -> list[str]:
    with pytest.raises(WinnowError) as caught:
        read_lexicon(path)
    errors = caught.value.errors if isinstance(caught.value, WinnowErrors) else [caught.value]
    return [error.message for error in errors]


def test_words_are_grouped_by_role_and_the_version_affects_the_fingerprint(tmp_path: Path) -> None:
    lexicon = read_lexicon(write_lexicon(tmp_path, GOOD))
    assert lexicon.words == {"wanted": ("durable", "good, cheap"), "unwanted": ("ugly",), "forbidden": ("ugly",)}
    assert (lexicon.name, lexicon.version) == ("mine", "3")
    newer = read_lexicon(write_lexicon(tmp_path, GOOD.replace("version: 3", "version: 4")))
    assert newer.fingerprint() != lexicon.fingerprint()
    assert read_lexicon(write_lexicon(tmp_path, GOOD + "# a remark\n")).fingerprint() == lexicon.fingerprint()


def test_every_invalid_row_is_reported_with_its_line(tmp_path: Path) -> None:
    messages = error_messages(write_lexicon(tmp_path, "word,role\ndurable,wnated\nugly\n,wanted\n"))
    assert "line 3" in messages[0]
    assert "expected 2 values (word, role), got 1" in messages[0]
    messages = error_messages(
        write_lexicon(tmp_path, "word,role\ndurable,wnated\n,wanted\nlight,wanted\nlight,forbidden\n")
    )
    assert "line 2" in messages[0]
    assert "Did you mean 'wanted'?" in messages[0]
    assert "the word is missing" in messages[1]
    assert messages[2].startswith("'light' in ")
    assert "is a wanted word and also an unwanted or forbidden word" in messages[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "Write this header in the first line"),
        ("a,b\n", "expected the header 'word,role'"),
        ("word,role\n", "has no words"),
    ],
)
def test_a_file_without_a_header_or_words_is_an_error(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in error_messages(write_lexicon(tmp_path, text))[0]


def test_a_missing_lexicon_is_an_error(tmp_path: Path) -> None:
    assert "Did you mean 'nike'?" in error_messages("nikee")[0]
    assert "cannot read the lexicon" in error_messages(str(tmp_path / "none.csv"))[0]


def test_a_probe_reads_its_lexicon_lazily_and_reports_errors_under_its_key(tmp_path: Path) -> None:
    invalid = Probe(prompts=["It is [MASK]"], lexicon=write_lexicon(tmp_path, "word,role\nugly\n"))
    (error,) = invalid.check()
    assert error.key == "lexicon"
    probe = Probe(prompts=["It is [MASK]"], wanted=["light"], lexicon=write_lexicon(tmp_path, GOOD))
    assert probe.check() == []
    assert probe.clozes[0].wanted == ("light", "durable", "good, cheap")
    assert probe.clozes[0].forbidden == ("ugly",)
    conflicting = Probe(prompts=["It is [MASK]"], wanted=["ugly"], lexicon=write_lexicon(tmp_path, GOOD))
    assert "share ugly" in conflicting.check()[0].message


def test_the_opinion_lexicon_rates_adjectives_that_filters_and_vader_lack() -> None:
    polarities = load_opinion_lexicon()
    assert len(polarities) > 1000
    assert all(-1 <= value <= 1 for value in polarities.values())
    assert polarities["comfortable"] > 0 > polarities["ugly"]
    assert polarities["expensive"] < 0  # VADER's lexicon lacks it

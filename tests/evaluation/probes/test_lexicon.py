"""Word lists in files: what they hold, and what is wrong with them."""

from pathlib import Path

import pytest

from winnow.errors import WinnowError, WinnowErrors
from winnow.evaluation import Probe, read_lexicon
from winnow.evaluation.probes.lexicon import opinions

GOOD = "# version: 3\nword,role\ndurable,wanted\n\nugly,unwanted\nugly,forbidden\n'good, cheap',wanted\n".replace(
    "'", '"'
)


def written(tmp_path: Path, text: str) -> str:
    (tmp_path / "mine.csv").write_text(text, "utf-8")
    return str(tmp_path / "mine.csv")


def faults_of(path: str) -> list[str]:
    with pytest.raises(WinnowError) as caught:
        read_lexicon(path)
    errors = caught.value.errors if isinstance(caught.value, WinnowErrors) else [caught.value]
    return [error.message for error in errors]


def test_words_come_by_role_and_the_version_counts(tmp_path: Path) -> None:
    lexicon = read_lexicon(written(tmp_path, GOOD))
    assert lexicon.words == {"wanted": ("durable", "good, cheap"), "unwanted": ("ugly",), "forbidden": ("ugly",)}
    assert (lexicon.name, lexicon.version) == ("mine", "3")
    later = read_lexicon(written(tmp_path, GOOD.replace("version: 3", "version: 4")))
    assert later.fingerprint() != lexicon.fingerprint()
    assert read_lexicon(written(tmp_path, GOOD + "# a remark\n")).fingerprint() == lexicon.fingerprint()


def test_every_broken_row_is_told_with_its_line(tmp_path: Path) -> None:
    told = faults_of(written(tmp_path, "word,role\ndurable,wnated\nugly\n,wanted\n"))
    assert "Line 3" in told[0]
    assert "1 values where word and role are needed" in told[0]
    told = faults_of(written(tmp_path, "word,role\ndurable,wnated\n,wanted\nlight,wanted\nlight,forbidden\n"))
    assert "Line 2" in told[0]
    assert "Did you mean 'wanted'?" in told[0]
    assert "it has no word" in told[1]
    assert "'light' as wanted and as unwanted or forbidden" in told[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "must begin with the line 'word,role'"), ("a,b\n", "must begin"), ("word,role\n", "holds no words")],
)
def test_a_file_without_a_head_or_words_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in faults_of(written(tmp_path, text))[0]


def test_a_lexicon_that_is_not_there(tmp_path: Path) -> None:
    assert "Did you mean 'nike'?" in faults_of("nikee")[0]
    assert "Cannot read the lexicon" in faults_of(str(tmp_path / "none.csv"))[0]


def test_a_probe_reads_its_lexicon_late_and_tells_what_is_wrong_with_it_under_its_key(tmp_path: Path) -> None:
    broken = Probe(prompts=["It is [MASK]"], lexicon=written(tmp_path, "word,role\nugly\n"))
    (fault,) = broken.check()
    assert fault.key == "lexicon"
    probe = Probe(prompts=["It is [MASK]"], wanted=["light"], lexicon=written(tmp_path, GOOD))
    assert probe.check() == []
    assert probe.clozes[0].wanted == ("light", "durable", "good, cheap")
    assert probe.clozes[0].forbidden == ("ugly",)
    clash = Probe(prompts=["It is [MASK]"], wanted=["ugly"], lexicon=written(tmp_path, GOOD))
    assert "share ugly" in clash.check()[0].message


def test_the_second_lexicon_rates_adjectives_of_products_that_neither_filter_nor_vader_lists() -> None:
    rated = opinions()
    assert len(rated) > 1000
    assert all(-1 <= value <= 1 for value in rated.values())
    assert rated["comfortable"] > 0 > rated["ugly"]
    assert rated["expensive"] < 0  # VADER's lexicon lacks it

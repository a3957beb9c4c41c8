from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from winnow.data import CleaningStep, Corpus, Dataset, Files, Mixture, Split, count_shared_texts
from winnow.errors import WinnowError

DatasetOf = Callable[..., Dataset]
HALVES = Split(validation_fraction=0.3, test_fraction=0.3)
TEXTS = [f"text number {i}" for i in range(60)]


def test_the_funnel_counts_what_each_stage_leaves(dataset_of: DatasetOf, tmp_path: Path) -> None:
    texts = [*TEXTS, " ", "12!", "Text NUMBER 3", "text  number 3"]
    steps = [CleaningStep.DROP_NULL, CleaningStep.STRIP_PUNCTUATION, CleaningStep.COLLAPSE_SPACE]
    corpus = dataset_of(texts, cleaning=steps).load(tmp_path)
    assert corpus.funnel == {"read": 64, "with_text": 63, "cleaned": 63, "unique": 61}
    without_digits = dataset_of(texts, cleaning=[*steps, CleaningStep.STRIP_DIGITS], split=HALVES)
    with pytest.raises(WinnowError, match="read 64, with_text 63, cleaned 62, unique 1"):
        without_digits.load(tmp_path)


def test_the_first_of_equal_texts_stays_in_file_order(dataset_of: DatasetOf, tmp_path: Path) -> None:
    corpus = dataset_of(["Text NUMBER 3", *TEXTS], split=HALVES).load(tmp_path)
    assert corpus.table["text"].to_pylist() == ["Text NUMBER 3", *TEXTS[:3], *TEXTS[4:]]


def test_the_columns_of_a_corpus(dataset_of: DatasetOf, tmp_path: Path) -> None:
    corpus = dataset_of(TEXTS, split=HALVES).load(tmp_path)
    assert corpus.table.column_names == ["row_id", "text", "source", "split"]
    assert set(corpus.table["source"].to_pylist()) == {"small"}
    expected = hashlib.blake2b(b"text number 0", digest_size=8).hexdigest()
    assert corpus.table["row_id"][0].as_py() == expected
    assert all(column.null_count == 0 for column in corpus.table.columns)
    assert sum(corpus.split(name).num_rows for name in ("train", "validation", "test")) == 60


def test_rows_of_a_group_stay_in_one_split(write_csv: Callable[..., Path], tmp_path: Path) -> None:
    rows = "".join(f"row {i},product {i // 3}\n" for i in range(120))
    source = Files(path=write_csv(f"t,product\n{rows}"), text=["t"], group="product")
    dataset = Dataset("grouped", source, split=HALVES)
    assert dataset.group_columns == ["group"]
    table = dataset.load(tmp_path).table
    splits: dict[str, set[str]] = {}
    for group, split in zip(table["group"].to_pylist(), table["split"].to_pylist(), strict=True):
        splits.setdefault(group, set()).add(split)
    assert len(splits) == 40
    assert all(len(names) == 1 for names in splits.values())
    ungrouped = Dataset("grouped", Files(path=tmp_path / "texts.csv", text=["t"]), split=HALVES)
    assert ungrouped.group_columns == []


def test_sources_and_labels_reach_the_corpus(write_csv: Callable[..., Path], tmp_path: Path) -> None:
    plain = write_csv("t\n" + "".join(f"plain {i}\n" for i in range(40)), "plain.csv")
    rated = write_csv("t,y\n" + "".join(f"rated {i},{i}\n" for i in range(40)), "rated.csv")
    mixture = Mixture(
        sources={
            "plain": Files(path=plain, text=["t"], homepage="here"),
            "rated": Files(path=rated, text=["t"], label="y"),
        }
    )
    corpus = Dataset(name="both", source=mixture).load(tmp_path)
    assert corpus.table["source"].to_pylist() == ["plain"] * 40 + ["rated"] * 40
    assert corpus.table["label"].to_pylist() == [None] * 40 + list(range(40))
    assert [source["name"] for source in corpus.sources] == ["plain", "rated"]
    assert corpus.sources[0]["homepage"] == "here"


def test_rows_without_text_are_an_error_unless_they_are_dropped(dataset_of: DatasetOf, tmp_path: Path) -> None:
    with pytest.raises(WinnowError, match=r"1 of 61 rows have no text.*drop_null") as caught:
        dataset_of([*TEXTS, " "], cleaning=[CleaningStep.LOWER_CASE]).load(tmp_path)
    assert caught.value.key == "cleaning"
    # A text emptied by a later step is dropped too.
    steps = [CleaningStep.DROP_NULL, CleaningStep.STRIP_PUNCTUATION]
    assert dataset_of([*TEXTS, "?!"], cleaning=steps).load(tmp_path).funnel["cleaned"] == 60


def test_an_empty_corpus_is_an_error(dataset_of: DatasetOf, tmp_path: Path) -> None:
    with pytest.raises(WinnowError, match=r"the corpus is empty.*read 2, with_text 2, cleaned 0") as caught:
        dataset_of(["1", "2"], cleaning=[CleaningStep.DROP_NULL, CleaningStep.STRIP_DIGITS]).load(tmp_path)
    assert caught.value.key == "source"


def test_an_empty_split_is_an_error(dataset_of: DatasetOf, tmp_path: Path) -> None:
    with pytest.raises(WinnowError, match=r"no rows were assigned to") as caught:
        dataset_of(["one", "two"]).load(tmp_path)
    assert caught.value.key == "split"


def test_rows_stay_in_their_split_when_rows_are_added_or_turned(dataset_of: DatasetOf, tmp_path: Path) -> None:
    def splits(texts: list[str]) -> dict[str, str]:
        table = dataset_of(texts, split=HALVES).load(tmp_path).table
        return dict(zip(table["row_id"].to_pylist(), table["split"].to_pylist(), strict=True))

    before = splits(TEXTS)
    after = splits(["something new", *TEXTS[::-1], "something else"])
    assert len(after) == 62
    assert before.items() <= after.items()


def test_the_corpus_is_built_once_and_then_memory_mapped(dataset_of: DatasetOf, tmp_path: Path) -> None:
    dataset = dataset_of(TEXTS, split=HALVES)
    built = dataset.load(tmp_path)
    folder = tmp_path / "corpus" / dataset.fingerprint()
    written = (folder / "rows.arrow").stat().st_mtime_ns
    before = pa.total_allocated_bytes()
    again = dataset.load(tmp_path)
    assert pa.total_allocated_bytes() == before
    assert (folder / "rows.arrow").stat().st_mtime_ns == written
    assert again.table.equals(built.table)
    assert (again.fingerprint, again.funnel, again.sources) == (
        built.fingerprint,
        built.funnel,
        built.sources,
    )
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_what_was_released_is_read_again(dataset_of: DatasetOf, tmp_path: Path) -> None:
    corpus = dataset_of([f"a shoe {i}" for i in range(20_000)], split=HALVES).load(tmp_path)
    before = corpus.table["text"].to_pylist()
    corpus.release()
    assert _resident(corpus) == 0
    assert corpus.table["text"].to_pylist() == before
    assert _resident(corpus) > 0


def _resident(corpus: Corpus) -> int:
    """Return how much of the memory map lies in this process' memory, in KiB."""
    address = corpus.table["text"].chunk(0).buffers()[2].address
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in (ends := line.split()[0]) and not ends.endswith(":"):
            start, end = (int(one, 16) for one in ends.split("-"))
            inside = start <= address < end
        elif inside and ends == "Rss:":
            return int(line.split()[1])
    raise AssertionError("the corpus is not memory-mapped")


def test_another_content_or_setting_is_another_corpus(dataset_of: DatasetOf, tmp_path: Path) -> None:
    corpora = [
        dataset_of(TEXTS, split=HALVES).load(tmp_path),
        dataset_of([*TEXTS[1:], TEXTS[0]], split=HALVES).load(tmp_path),
        dataset_of(TEXTS[1:], split=HALVES).load(tmp_path),
        dataset_of(TEXTS, split=Split(0.3, 0.3, salt="other")).load(tmp_path),
    ]
    assert len({corpus.fingerprint for corpus in corpora}) == 4


SCRIPT = """
import sys
from pathlib import Path
from winnow.data import Files, Dataset
dataset = Dataset(name="small", source=Files(path=sys.argv[1], text=["text"]))
print(dataset.load(Path(sys.argv[2])).fingerprint)
"""


@pytest.mark.slow
def test_parallel_processes_may_build_the_same_corpus(dataset_of: DatasetOf, tmp_path: Path) -> None:
    dataset = dataset_of([f"text {i}" for i in range(3_000)])
    assert isinstance(dataset.source, Files)
    command = [sys.executable, "-c", SCRIPT, str(dataset.source.path), str(tmp_path / "cache")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    printed = [process.communicate()[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert set(printed) == {dataset.load(tmp_path / "cache").fingerprint}
    assert [path.name for path in (tmp_path / "cache" / "corpus").iterdir()] == [dataset.fingerprint()]


def test_a_damaged_cache_is_made_again_and_an_unwritable_one_reported(dataset_of: DatasetOf, tmp_path: Path) -> None:
    dataset = dataset_of(TEXTS, split=HALVES)
    before = dataset.load(tmp_path / "cache").table.to_pylist()
    rows = tmp_path / "cache" / "corpus" / dataset.fingerprint() / "rows.arrow"
    rows.write_bytes(rows.read_bytes()[:100])
    assert dataset.load(tmp_path / "cache").table.to_pylist() == before
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WinnowError, match="cannot write") as caught:
        dataset.load(tmp_path / "file")
    assert caught.value.key == "cache_dir"


def test_faults_carry_the_key_from_the_dataset_on(tmp_path: Path) -> None:
    dataset = Dataset(name="x", source=Files(path=tmp_path / "absent.csv", text=["t"]))
    assert [fault.key for fault in dataset.check()] == ["source.path"]
    with pytest.raises(WinnowError) as caught:
        dataset.load(tmp_path)
    assert caught.value.key == "source.path"


def test_nothing_leaks_between_splits(dataset_of: DatasetOf, tmp_path: Path) -> None:
    texts = [variant for text in TEXTS for variant in (text, text.upper(), text.replace(" ", "  "))]
    corpus = dataset_of(texts, split=HALVES).load(tmp_path)
    assert count_shared_texts(corpus) == {"train/validation": 0, "train/test": 0, "validation/test": 0}


def test_leakage_finds_what_has_leaked() -> None:
    table = pa.table(
        {
            "text": ["a b", "c", "A  B", "c", "d", "a b"],
            "split": ["train"] * 2 + ["validation"] * 2 + ["test"] * 2,
        }
    )
    shared = count_shared_texts(Corpus(table, "0" * 16, {}, []))
    assert shared == {"train/validation": 2, "train/test": 1, "validation/test": 1}


def given(write_csv: Callable[..., Path], name: str, texts: list[str]) -> Files:
    return Files(path=write_csv("text\n" + "".join(f"{text}\n" for text in texts), name), text=["text"])


def test_a_given_validation_set_takes_its_rows_out_of_the_others(
    dataset_of: DatasetOf, write_csv: Callable[..., Path], tmp_path: Path
) -> None:
    validation = given(write_csv, "validation.csv", ["Text  3", "text 5", "one of its own", "text 5"])
    texts = [f"text {i}" for i in range(200)]
    corpus = dataset_of(texts, validation=validation).load(tmp_path)
    assert corpus.split("validation")["text"].to_pylist() == ["Text 3", "text 5", "one of its own"]
    assert set(corpus.split("validation")["source"].to_pylist()) == {"validation"}
    assert (corpus.funnel["unique"], corpus.funnel["apart"]) == (200, 198)
    assert corpus.split("train").num_rows + corpus.split("test").num_rows == 198
    leakage = corpus.leakage["validation"]
    assert (leakage["rows"], leakage["exact"], leakage["near"]) == (3, 0.0, 0.0)
    assert leakage["one_word"] == leakage["two_words"] == pytest.approx(2 / 3), "Text 3 and text 5"
    plain = dataset_of(texts, split=Split()).load(tmp_path)
    assert plain.fingerprint != corpus.fingerprint
    # Rows keep their place in test, whatever is given.
    assert set(corpus.split("test")["row_id"].to_pylist()) <= set(plain.split("test")["row_id"].to_pylist())


def test_external_sets_are_held_out_by_name(
    dataset_of: DatasetOf, write_csv: Callable[..., Path], tmp_path: Path
) -> None:
    texts = [f"text {i}" for i in range(200)]
    plain = dataset_of(texts).load(tmp_path)
    kept, lost = plain.split("test")["text"][0].as_py(), plain.split("train")["text"][0].as_py()
    sets = {
        "reviews": given(write_csv, "reviews.csv", [kept, lost, "a review"]),
        "news": given(write_csv, "news.csv", ["the news"]),
    }
    dataset = dataset_of(texts, external=sets)
    corpus = dataset.load(tmp_path)
    external = corpus.split("external")
    assert list(zip(external["source"].to_pylist(), external["text"].to_pylist(), strict=True)) == [
        ("reviews", kept), ("reviews", lost), ("reviews", "a review"), ("news", "the news"),
    ]  # fmt: skip
    assert corpus.split("test").equals(plain.split("test"))
    assert corpus.split("train").num_rows == plain.split("train").num_rows - 1
    assert (corpus.funnel["unique"], corpus.funnel["apart"]) == (200, 199)
    assert lost not in corpus.split("train")["text"].to_pylist()
    assert corpus.leakage["external"]["exact"] == 0
    assert [one["name"] for one in corpus.sources] == ["small", "external/reviews", "external/news"]
    missing = dataset_of(texts, external={"gone": Files(path=tmp_path / "gone.csv", text=["text"])})
    assert [fault.key for fault in missing.check()] == ["external.gone.path"]


def test_slots_of_a_source_can_stay_together(write_csv: Callable[..., Path], tmp_path: Path) -> None:
    rows = "".join(f"review {i} of product {i % 60},{i % 60}\n" for i in range(900))
    source = Files(path=write_csv("text,product\n" + rows), text=["text"], columns={"product": "string"})
    corpus = Dataset(name="x", source=source, split=Split(0.2, 0.2, group_by=["product"])).load(tmp_path)
    pairs = set(zip(corpus.table["product"].to_pylist(), corpus.table["split"].to_pylist(), strict=True))
    assert len(pairs) == 60
    with pytest.raises(WinnowError, match="no column 'colour'") as caught:
        Dataset(name="x", source=source, split=Split(group_by=["colour"])).load(tmp_path)
    assert caught.value.key == "split.group_by"

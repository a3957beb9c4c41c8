import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from winnow.errors import WinnowError
from winnow.training import TokenRows, Vocabulary, pack_into_blocks, tokenize, tokenizer_fingerprint


def test_rows_contain_the_tokens_of_the_tokenizer(rows: TokenRows, table: pa.Table, tokenizer: Any) -> None:
    assert len(rows) == len(table)
    for i in (0, 17, len(rows) - 1):
        text, row_id = table["text"][i].as_py(), table["row_id"][i].as_py()
        assert rows.ids[rows.offsets[i] : rows.offsets[i + 1]].tolist() == tokenizer(text)["input_ids"]
        assert f"{rows.keys[i]:016x}" == row_id
    assert rows.truncated == 0


def test_positions_restart_with_every_row(rows: TokenRows) -> None:
    assert rows.positions[rows.offsets[:-1]].tolist() == [0] * len(rows)
    assert rows.positions[: rows.lengths[0] + 1].tolist() == [*range(rows.lengths[0]), 0]


def test_rows_are_taken_by_index_and_by_boolean_mask(rows: TokenRows) -> None:
    taken = rows.take(np.array([5, 3, 5]))
    assert taken.keys.tolist() == [rows.keys[5], rows.keys[3], rows.keys[5]]
    assert (
        taken.ids[taken.offsets[1] : taken.offsets[2]].tolist() == rows.ids[rows.offsets[3] : rows.offsets[4]].tolist()
    )
    flags = np.zeros(len(rows), dtype=bool)
    flags[[3, 5]] = True
    assert rows.take(flags).keys.tolist() == [rows.keys[3], rows.keys[5]]
    assert len(rows.take(np.zeros(len(rows), dtype=bool))) == 0


def test_long_rows_are_truncated_and_counted(make_table: Any, tokenizer: Any, tmp_path: Path) -> None:
    table = make_table(["nike shoes", "nike running shoes are comfortable", "nike socks are dirty"])
    rows = tokenize(table, tokenizer, 6, tmp_path)
    assert rows.lengths.tolist() == [4, 6, 6]
    assert rows.truncated == 1  # the third row has exactly 6 tokens
    assert rows.ids[rows.offsets[1:] - 1].tolist() == [tokenizer.sep_token_id] * 3


def test_the_second_call_loads_the_cache(table: pa.Table, tokenizer: Any, tmp_path: Path) -> None:
    first = tokenize(table, tokenizer, 64, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    cached = tokenize(table, tokenizer, 64, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == files
    assert isinstance(cached.ids, np.memmap)
    assert np.array_equal(first.ids, cached.ids)
    tokenize(table, tokenizer, 8, tmp_path)
    tokenize(table.slice(1), tokenizer, 64, tmp_path)
    assert len(list((tmp_path / "tokens").iterdir())) == 3


@pytest.mark.slow
def test_concurrent_processes_write_one_complete_cache(tmp_path: Path) -> None:
    code = """
import sys, pathlib, pyarrow as pa
from winnow.training import tokenize
from winnow.training.wordpiece import train_wordpiece
texts = [f"nike shoes number {i} are durable" for i in range(5000)]
table = pa.table({"row_id": [f"{i:016x}" for i in range(5000)], "text": texts})
rows = tokenize(table, train_wordpiece(texts, 500, 64), 64, pathlib.Path(sys.argv[1]))
print(len(rows), int(rows.ids.sum()))
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert printed[0] == printed[1]
    assert printed[0].startswith("5000 ")
    assert len(list((tmp_path / "tokens").iterdir())) == 1


def test_an_empty_table_is_tokenized(table: pa.Table, tokenizer: Any, tmp_path: Path) -> None:
    empty = tokenize(table.slice(0, 0), tokenizer, 64, tmp_path)
    assert len(empty) == 0
    assert len(pack_into_blocks(empty, 16)) == 0


def test_a_length_above_the_model_maximum_is_an_error(
    table: pa.Table, tokenizer: Any, rows: TokenRows, tmp_path: Path
) -> None:
    with pytest.raises(WinnowError, match=r"training\.max_length: expected at most 64"):
        tokenize(table, tokenizer, 65, tmp_path)
    with pytest.raises(WinnowError, match=r"training\.block_size: expected at most 64"):
        pack_into_blocks(rows, 65)


def test_a_row_id_that_is_not_a_hash_is_an_error(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(WinnowError, match="16-digit hexadecimal"):
        tokenize(pa.table({"row_id": ["row one"], "text": ["nike"]}), tokenizer, 8, tmp_path)
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.parametrize("block_size", [5, 16, 64])
def test_blocks_contain_every_token_once_and_in_order(rows: TokenRows, block_size: int) -> None:
    blocks = pack_into_blocks(rows, block_size)
    assert np.array_equal(blocks.ids, rows.ids)
    assert set(blocks.lengths[:-1].tolist()) == {block_size}
    assert 0 < blocks.lengths[-1] <= block_size
    assert blocks.lengths.sum() == len(rows.ids)


def test_the_key_of_a_block_is_a_function_of_its_tokens(rows: TokenRows) -> None:
    blocks = pack_into_blocks(rows, 16)
    assert len(np.unique(blocks.keys)) == len(blocks)
    few = rows.take(np.arange(10))
    shifted = TokenRows(few.ids[16:], few.offsets[:1].repeat(2), few.keys[:1], few.vocabulary)
    assert pack_into_blocks(few, 16).keys[1] == pack_into_blocks(shifted, 16).keys[0]
    swapped = few.ids.copy()
    swapped[[1, 2]] = swapped[[2, 1]]
    other = TokenRows(swapped, few.offsets, few.keys, few.vocabulary)
    assert pack_into_blocks(other, 16).keys[0] != pack_into_blocks(few, 16).keys[0]


def test_the_tokenizer_fingerprint_ignores_the_arguments_of_calls(tokenizer: Any) -> None:
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(["nike"], truncation=True, max_length=3, padding="max_length")
    assert tokenizer_fingerprint(tokenizer) == before


def test_another_vocabulary_has_another_fingerprint(tokenizer: Any) -> None:
    from winnow.training.wordpiece import train_wordpiece

    assert tokenizer_fingerprint(train_wordpiece(["nike shoes"], 64, 64)) != tokenizer_fingerprint(tokenizer)


def test_vocabulary_separates_special_tokens(tokenizer: Any) -> None:
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    assert vocabulary.size == len(tokenizer)
    assert np.flatnonzero(vocabulary.is_special).tolist() == sorted(tokenizer.all_special_ids)
    assert len(vocabulary.regular_ids) == len(tokenizer) - 5


def test_word_starts_match_the_words_of_the_tokenizer(tokenizer: Any, make_table: Any, tmp_path: Path) -> None:
    rows = tokenize(make_table(["nike xylophones are durable", "ugly"]), tokenizer, 64, tmp_path)
    words = np.split(rows.ids, np.flatnonzero(rows.word_starts)[1:])
    assert [tokenizer.decode(word) for word in words] == [
        *("[CLS]", "nike", "xylophones", "are", "durable", "[SEP]"),
        *("[CLS]", "ugly", "[SEP]"),
    ]
    assert rows.take(np.array([1])).word_starts.tolist() == [True] * 3


def test_taking_all_rows_keeps_the_memory_map(table: pa.Table, tokenizer: Any, tmp_path: Path) -> None:
    rows = tokenize(table, tokenizer, 64, tmp_path)
    assert rows.take(np.ones(len(rows), dtype=bool)) is rows
    assert isinstance(pack_into_blocks(rows, 16).ids, np.memmap)


def test_rows_in_a_block_are_separate_sequences_by_default(rows: TokenRows) -> None:
    few = rows.take(np.arange(10))
    isolated, joined = pack_into_blocks(few, 16), pack_into_blocks(few, 16, isolate_rows=False)
    assert joined.sequence_lengths.tolist() == joined.lengths.tolist()
    borders = set(few.offsets.tolist()) | set(isolated.offsets.tolist())
    assert isolated.sequence_lengths.tolist() == np.diff(sorted(borders)).tolist()
    taken = isolated.take(np.array([2, 0]))
    assert taken.sequence_lengths.sum() == 32

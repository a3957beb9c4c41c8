"""Pseudo-log-likelihood beside another implementation, a loop, and a case by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DistilBertTokenizer

from winnow.evaluation import pseudo_log_likelihoods
from winnow.training import Scratch

PIECES = [
    "nike",
    "puma",
    "hats",
    "shoes",
    "are",
    "very",
    "dur",
    "##able",
    "##ab",
    "##ility",
    "look",
    "##ing",
    "good",
    "-",
]
SENTENCES = [
    "nike hats are durable",
    "puma shoes are very good-looking",
    "nike",
    "nike durability looking very durable durable hats are good",
]


@pytest.fixture(scope="module")
def in_pieces() -> Any:
    """A tokenizer that cuts some words into two or three tokens."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES]
    return DistilBertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, model_max_length=64)


@pytest.fixture(scope="module")
def scorer(in_pieces: Any) -> Any:
    return Scratch(layers=2, hidden_size=32, heads=2, max_length=64).load(in_pieces, seed=3)


def by_a_loop(text: str, model: Any, tokenizer: Any) -> float:
    encoded = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    ids, words, total = encoded["input_ids"], encoded.word_ids(), 0.0
    for place, word in enumerate(words):
        if word is None:
            continue
        masked = ids.clone()
        masked[0, [later for later in range(place, len(words)) if words[later] == word]] = tokenizer.mask_token_id
        with torch.no_grad():
            logits = model(masked).logits[0, place]
        total += float(logits.log_softmax(-1)[ids[0, place]])
    return total


@pytest.mark.parametrize("forward", ["efficient", "reference"])
def test_it_is_what_a_loop_over_positions_gives(scorer: Any, in_pieces: Any, forward: Any) -> None:
    sums, tokens = pseudo_log_likelihoods(SENTENCES, scorer, in_pieces, forward=forward)
    assert sums == pytest.approx([by_a_loop(text, scorer, in_pieces) for text in SENTENCES], abs=1e-4)
    assert tokens.tolist() == [5, 8, 1, 14]


@pytest.mark.parametrize(("within_word", "theirs"), [(True, "within_word_l2r"), (False, "original")])
def test_it_is_what_minicons_gives(scorer: Any, in_pieces: Any, within_word: bool, theirs: str) -> None:
    from minicons.scorer import MaskedLMScorer

    in_pieces.batch_encode_plus = in_pieces.__call__  # its name before transformers 5, which minicons calls
    oracle = MaskedLMScorer(scorer, "cpu", tokenizer=in_pieces)
    expected = [
        oracle.sequence_score([text], reduction=lambda scores: scores.sum().item(), PLL_metric=theirs)[0]
        for text in SENTENCES
    ]
    sums, _ = pseudo_log_likelihoods(SENTENCES, scorer, in_pieces, within_word=within_word)
    assert sums == pytest.approx(expected, abs=1e-4)


def test_a_word_in_pieces_is_corrected_and_whole_words_are_not(scorer: Any, in_pieces: Any) -> None:
    with_correction, _ = pseudo_log_likelihoods(["nike hats are", "durability"], scorer, in_pieces)
    without, _ = pseudo_log_likelihoods(["nike hats are", "durability"], scorer, in_pieces, within_word=False)
    assert with_correction[0] == pytest.approx(without[0], abs=1e-6)
    assert abs(with_correction[1] - without[1]) > 1e-4


def test_an_even_guess_costs_the_logarithm_of_the_vocabulary_a_token(in_pieces: Any) -> None:
    model = Scratch(layers=1, hidden_size=16, heads=2).load(in_pieces, seed=0)
    with torch.no_grad():
        model.vocab_projector.weight.zero_()
        model.vocab_projector.bias.zero_()
    sums, tokens = pseudo_log_likelihoods(SENTENCES, model, in_pieces)
    assert sums == pytest.approx(-tokens * math.log(len(in_pieces)), rel=1e-6)


def test_batches_do_not_change_the_sums(scorer: Any, in_pieces: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = pseudo_log_likelihoods(SENTENCES, scorer, in_pieces)
    monkeypatch.setattr(
        "winnow.evaluation.pseudo_likelihood.TOKENS_AT_ONCE", 20
    )  # fewer than the copies of one text hold
    found, _ = pseudo_log_likelihoods(SENTENCES, scorer, in_pieces)
    assert np.allclose(found, expected, atol=1e-5)


def test_no_text_and_a_text_without_a_word() -> None:
    tokenizer: Any = DistilBertTokenizer(
        vocab={t: i for i, t in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])}
    )
    model = Scratch(layers=1, hidden_size=16, heads=2).load(tokenizer, seed=0)
    sums, tokens = pseudo_log_likelihoods([], model, tokenizer)
    assert len(sums) == len(tokens) == 0
    sums, tokens = pseudo_log_likelihoods([""], model, tokenizer)
    assert (sums.tolist(), tokens.tolist()) == ([0.0], [0])

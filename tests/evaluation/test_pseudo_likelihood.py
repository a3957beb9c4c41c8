"""Compare pseudo-log-likelihoods with minicons, with a loop over positions, and with the uniform case."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DistilBertTokenizer

from winnow.evaluation import pseudo_log_likelihoods
from winnow.training import Scratch

SUBWORDS = [
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
def subword_tokenizer() -> Any:
    """A tokenizer that splits some words into two or three tokens."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *SUBWORDS]
    return DistilBertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, model_max_length=64)


@pytest.fixture(scope="module")
def scorer(subword_tokenizer: Any) -> Any:
    return Scratch(layers=2, hidden_size=32, heads=2, max_length=64).load(subword_tokenizer, seed=3)


def score_by_loop(text: str, model: Any, tokenizer: Any) -> float:
    encoded = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    ids, words, total = encoded["input_ids"], encoded.word_ids(), 0.0
    for position, word in enumerate(words):
        if word is None:
            continue
        masked = ids.clone()
        masked[0, [later for later in range(position, len(words)) if words[later] == word]] = tokenizer.mask_token_id
        with torch.no_grad():
            logits = model(masked).logits[0, position]
        total += float(logits.log_softmax(-1)[ids[0, position]])
    return total


@pytest.mark.parametrize("forward", ["efficient", "reference"])
def test_scores_match_a_loop_over_positions(scorer: Any, subword_tokenizer: Any, forward: Any) -> None:
    sums, tokens = pseudo_log_likelihoods(SENTENCES, scorer, subword_tokenizer, forward=forward)
    assert sums == pytest.approx([score_by_loop(text, scorer, subword_tokenizer) for text in SENTENCES], abs=1e-4)
    assert tokens.tolist() == [5, 8, 1, 14]


@pytest.mark.parametrize(("within_word", "minicons_metric"), [(True, "within_word_l2r"), (False, "original")])
def test_scores_match_minicons(scorer: Any, subword_tokenizer: Any, within_word: bool, minicons_metric: str) -> None:
    from minicons.scorer import MaskedLMScorer

    subword_tokenizer.batch_encode_plus = (
        subword_tokenizer.__call__
    )  # minicons calls it by its name before transformers 5
    minicons_scorer = MaskedLMScorer(scorer, "cpu", tokenizer=subword_tokenizer)
    expected = [
        minicons_scorer.sequence_score(
            [text], reduction=lambda scores: scores.sum().item(), PLL_metric=minicons_metric
        )[0]
        for text in SENTENCES
    ]
    sums, _ = pseudo_log_likelihoods(SENTENCES, scorer, subword_tokenizer, within_word=within_word)
    assert sums == pytest.approx(expected, abs=1e-4)


def test_words_of_several_tokens_are_corrected_and_others_are_not(scorer: Any, subword_tokenizer: Any) -> None:
    with_correction, _ = pseudo_log_likelihoods(["nike hats are", "durability"], scorer, subword_tokenizer)
    without, _ = pseudo_log_likelihoods(["nike hats are", "durability"], scorer, subword_tokenizer, within_word=False)
    assert with_correction[0] == pytest.approx(without[0], abs=1e-6)
    assert abs(with_correction[1] - without[1]) > 1e-4


def test_a_uniform_prediction_costs_the_log_of_the_vocabulary_size_per_token(subword_tokenizer: Any) -> None:
    model = Scratch(layers=1, hidden_size=16, heads=2).load(subword_tokenizer, seed=0)
    with torch.no_grad():
        model.vocab_projector.weight.zero_()
        model.vocab_projector.bias.zero_()
    sums, tokens = pseudo_log_likelihoods(SENTENCES, model, subword_tokenizer)
    assert sums == pytest.approx(-tokens * math.log(len(subword_tokenizer)), rel=1e-6)


def test_the_batch_size_does_not_change_the_sums(
    scorer: Any, subword_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = pseudo_log_likelihoods(SENTENCES, scorer, subword_tokenizer)
    monkeypatch.setattr(
        "winnow.evaluation.pseudo_likelihood.MAX_TOKENS_PER_BATCH", 20
    )  # less than the copies of one text need
    sums, _ = pseudo_log_likelihoods(SENTENCES, scorer, subword_tokenizer)
    assert np.allclose(sums, expected, atol=1e-5)


def test_no_texts_and_a_text_without_words() -> None:
    tokenizer: Any = DistilBertTokenizer(
        vocab={t: i for i, t in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])}
    )
    model = Scratch(layers=1, hidden_size=16, heads=2).load(tokenizer, seed=0)
    sums, tokens = pseudo_log_likelihoods([], model, tokenizer)
    assert len(sums) == len(tokens) == 0
    sums, tokens = pseudo_log_likelihoods([""], model, tokenizer)
    assert (sums.tolist(), tokens.tolist()) == ([0.0], [0])

"""The n-gram models: their probabilities equal those of nltk.lm, and a prediction is a distribution."""

import functools
from typing import Any

import numpy as np
import pytest
from nltk.lm import KneserNeyInterpolated, Laplace, Vocabulary
from nltk.util import everygrams

from winnow.evaluation.ngram_counts import DISCOUNT
from winnow.evaluation.ngram_model import NgramModel
from winnow.evaluation.ngram_scores import NgramPredictor, score_rows_with_ngrams
from winnow.training import Masking, TokenRows
from winnow.training.masking import IGNORE_INDEX

OUTSIDE = "outside"


class NltkTrigrams(KneserNeyInterpolated):
    """nltk's interpolated Kneser-Ney trigrams of tokens that are not special, with 1 added to the unigram counts."""

    def __init__(self, sentences: list[list[str]], vocabulary: list[str], special: set[str]) -> None:
        super().__init__(3, DISCOUNT, vocabulary=Vocabulary([*vocabulary, *special, OUTSIDE], unk_cutoff=1))
        ngrams = [list(everygrams([OUTSIDE, OUTSIDE, *sentence], max_len=3)) for sentence in sentences]
        self.fit([[gram for gram in grams if gram[-1] not in {*special, OUTSIDE}] for grams in ngrams])
        self.vocabulary_size = len(vocabulary)
        self.unsmoothed = self.estimator.unigram_score
        self.estimator.unigram_score = self.unigram_score

    def unigram_score(self, word: str) -> float:
        _, total = self.estimator._continuation_counts(word)
        return float(self.unsmoothed(word) * total + 1) / (total + self.vocabulary_size)


@pytest.fixture(scope="module")
def model(rows: TokenRows) -> NgramModel:
    return NgramModel.fit(rows.take(np.arange(0, len(rows), 3)))


@pytest.fixture(scope="module")
def nltk_models(rows: TokenRows) -> list[NltkTrigrams]:
    """The forward and the backward model of every third row."""
    special = {str(i) for i in rows.vocabulary.special_ids}
    sentences = [[str(i) for i in rows.take(np.array([row])).ids] for row in range(0, len(rows), 3)]
    vocabulary = [str(i) for i in rows.vocabulary.regular_ids]
    return [
        NltkTrigrams(sentences, vocabulary, special),
        NltkTrigrams([sentence[::-1] for sentence in sentences], vocabulary, special),
    ]


def masked_rows(rows: TokenRows, *positions: int) -> TokenRows:
    """Mask positions of the first row."""
    row = rows.take(np.array([1]))
    ids = np.array(row.ids)
    ids[list(positions)] = row.vocabulary.mask_id
    return TokenRows(ids, row.offsets, row.keys, row.vocabulary)


@pytest.mark.parametrize("position", [1, 3, -2])
def test_both_sides_equal_the_kneser_ney_probabilities_of_nltk(
    position: int, rows: TokenRows, model: NgramModel, nltk_models: list[NltkTrigrams]
) -> None:
    row = rows.take(np.array([1]))
    tokens = [OUTSIDE, OUTSIDE, *map(str, row.ids), OUTSIDE, OUTSIDE]
    index = 2 + position % len(row.ids)
    forward, backward = nltk_models
    expected = np.full(rows.vocabulary.size, -np.inf)
    for token in rows.vocabulary.regular_ids:
        left = forward.score(str(token), tokens[index - 2 : index])
        right = backward.score(str(token), tokens[index + 2 : index : -1])
        expected[token] = np.log(left * right / model.unigram[token])
    expected -= np.logaddexp.reduce(expected)
    found = model.predict_log_probabilities(masked_rows(rows, position), np.array([position % len(row.ids)]))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_unigram_model_equals_the_add_one_model_of_nltk(rows: TokenRows, model: NgramModel) -> None:
    sample, regular = rows.take(np.arange(0, len(rows), 3)), rows.vocabulary.regular_ids
    laplace = Laplace(1, vocabulary=Vocabulary(map(str, regular), unk_cutoff=1))
    tokens = [(str(token),) for token in sample.ids if token in regular]
    laplace.fit([tokens])
    unknown = laplace.score("unknown")  # nltk adds an unknown token to the vocabulary
    expected = [laplace.score(str(token)) / (1 - unknown) for token in regular]
    np.testing.assert_allclose(model.unigram_model.unigram[regular], expected, rtol=1e-12)


def test_single_tokens_have_the_probability_of_the_full_distribution(rows: TokenRows, model: NgramModel) -> None:
    inputs = masked_rows(rows, 2, 3)
    positions = np.array([2, 3])
    for scorer in (model, model.unigram_model):
        full = scorer.predict_log_probabilities(inputs, positions)
        np.testing.assert_allclose(np.exp(full).sum(axis=1), 1)
        for token in rows.vocabulary.regular_ids[::7]:
            tokens = np.array([token, token])
            np.testing.assert_allclose(scorer.score_tokens(inputs, positions, tokens), full[:, token], rtol=1e-9)


def test_a_side_next_to_a_mask_backs_off_to_the_unigram(rows: TokenRows, model: NgramModel) -> None:
    alone = masked_rows(rows, 1, 2, 3)
    np.testing.assert_allclose(
        model.predict_log_probabilities(alone, np.array([2])),
        model.unigram_model.predict_log_probabilities(alone, np.array([2])),
    )
    left_only = masked_rows(rows, 2, 3)
    assert not np.allclose(
        model.predict_log_probabilities(left_only, np.array([2])), model.predict_log_probabilities(alone, np.array([2]))
    )


def test_large_corpora_are_sampled_by_row_key(rows: TokenRows) -> None:
    shuffled = rows.take(np.random.default_rng(0).permutation(len(rows)))
    samples = [NgramModel.fit(table, max_tokens=400) for table in (rows, shuffled)]
    assert not np.array_equal(samples[0].unigram, NgramModel.fit(rows).unigram)
    np.testing.assert_array_equal(samples[0].unigram, samples[1].unigram)


def test_row_losses_use_the_masks_of_the_model_and_the_shown_tokens(rows: TokenRows, model: NgramModel) -> None:
    masking, seed = Masking(), 3
    found = score_rows_with_ngrams(model, rows, masking, seed)
    input_ids, labels = masking.apply(rows, seed)
    inputs = TokenRows(input_ids, rows.offsets, rows.keys, rows.vocabulary)
    expected, masked = np.zeros(len(rows)), np.zeros(len(rows), dtype=int)
    kinds = set()
    for row in range(len(rows)):
        for position in range(rows.offsets[row], rows.offsets[row + 1]):
            target, shown = labels[position], input_ids[position]
            if target == IGNORE_INDEX:
                continue
            p = np.exp(model.predict_log_probabilities(inputs, np.array([position]))[0])
            if shown != rows.vocabulary.mask_id:
                unchanged = np.arange(len(p)) == shown
                p = p * (0.1 * unchanged + 0.1 / len(rows.vocabulary.regular_ids))
                p /= p.sum()
            kinds.add((bool(shown == rows.vocabulary.mask_id), bool(shown == target)))
            expected[row] -= np.log(p[target])
            masked[row] += 1
    assert len(kinds) == 3  # masked, replaced and unchanged tokens
    assert found["masked"].to_pylist() == masked.tolist()
    np.testing.assert_allclose(found["loss_sum"].to_numpy(), expected, rtol=1e-9, atol=1e-12)


def test_trigrams_predict_the_template_sentences_better_than_unigrams(rows: TokenRows, model: NgramModel) -> None:
    held_out = rows.take(np.arange(1, len(rows), 3))
    losses = [
        sum(score_rows_with_ngrams(scorer, held_out, Masking(), 0)["loss_sum"].to_pylist())
        for scorer in (model, model.unigram_model)
    ]
    assert losses[0] < 0.7 * losses[1]


def test_the_predictor_returns_the_masks_in_the_order_of_the_sentences(model: NgramModel, tokenizer: Any) -> None:
    texts = ["nike [MASK] are durable", "puma hats are [MASK] for being <mask>"] * 40
    batches = list(NgramPredictor(model, tokenizer)(texts))
    indices = functools.reduce(lambda a, b: np.concatenate([a, b]), [indices for indices, _ in batches])
    assert indices.tolist() == [i for pair in range(40) for i in (2 * pair, 2 * pair + 1, 2 * pair + 1)]
    best = batches[0][1][0].argmax().item()
    assert tokenizer.decode([best]) in ("hats", "jackets", "shirts", "socks", "shoes", "wear")

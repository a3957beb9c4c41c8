"""Score a model on the prompts of a probe in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from winnow.evaluation.mask_predictions import MASK_PATTERN
from winnow.evaluation.probes.lexicon import WORD_ROLES, load_opinion_lexicon
from winnow.evaluation.probes.probe_scores import (
    FILL_SCHEMA,
    PHRASE_SCHEMA,
    WORD_SCHEMA,
    ProbeScores,
    prompt_table_schema,
)
from winnow.evaluation.probes.prompt_score_formulas import (
    TOP_K_VALUES,
    forbidden_scores,
    log_odds,
    mean_at_k,
    opinion_scores,
    probability_sum,
    word_list_scores,
)
from winnow.evaluation.probes.prompts import Cloze
from winnow.evaluation.probes.user_metric import PromptMetric, PromptPrediction
from winnow.evaluation.sentiment import Sentiment
from winnow.evaluation.vocabulary_words import list_whole_words, single_token_ids

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

TableRow = dict[str, Any]
LogProbabilities = npt.NDArray[np.float32]
Predict = Callable[[Sequence[str]], "Iterator[tuple[npt.NDArray[np.int64], torch.Tensor]]"]
"""A function that predicts the tokens at the masks of sentences. It returns results in the same form as
:func:`winnow.evaluation.mask_predictions.predict_at_masks`."""


def score_prompts(
    clozes: Sequence[Cloze],
    sentiment: Sentiment,
    predict: Predict,
    tokenizer: PreTrainedTokenizerFast,
    skip_slow_scores: bool,
    metrics: Sequence[PromptMetric] = (),
    score_phrases: Callable[[dict[str, int | None]], list[TableRow]] | None = None,
    split: Literal["validation", "test"] = "test",
) -> ProbeScores:
    """Score predictions on the prompts of a probe; see :meth:`winnow.evaluation.Probe.run`.

    Probabilities are the float32 softmax over the full vocabulary at the mask. Only whole words are ranked; subwords,
    punctuation and special tokens are excluded.

    Args:
        clozes: The prompts.
        sentiment: The sentiment scale.
        predict: A function that predicts the tokens at the masks of sentences.
        tokenizer: The tokenizer.
        skip_slow_scores: Whether to skip sentiment, priors and multi-token words.
        metrics: User-defined metrics.
        score_phrases: A function that scores the listed multi-token words, given the token id of each listed word; see
            :func:`winnow.evaluation.probes.multi_token_words.score_multi_token_words`. If ``None``, multi-token words
            are not scored.
        split: The half of the templates that the summary covers.
    """
    summarized_texts = {cloze.text for cloze in clozes if cloze.role == "subject" and cloze.split in (split, "both")}
    cloze_masks = [(cloze, mask) for cloze in clozes for mask in range(1, cloze.mask_count + 1)]
    words_by_role = {role: {word for cloze in clozes for word in getattr(cloze, role)} for role in WORD_ROLES}
    token_ids = single_token_ids(set().union(*words_by_role.values()), tokenizer)
    candidate_ids, words = list_whole_words(tokenizer)
    prompts: list[TableRow] = []
    fills: list[TableRow] = []
    word_means = _MeanWordProbabilities(token_ids)
    listed_words: list[dict[str, float]] = []
    index = 0
    for _, predictions in predict([cloze.text for cloze in clozes]):
        candidates = predictions[:, candidate_ids]
        top = candidates.topk(min(TOP_K_VALUES[-1], len(words)))
        top_indices, top_probabilities = top.indices.cpu().numpy(), top.values.exp().cpu().numpy().astype(np.float64)
        log_probabilities = predictions.cpu().numpy()
        best_ranks = _find_best_forbidden_ranks(candidates, cloze_masks[index:], token_ids, candidate_ids)
        for row in range(len(log_probabilities)):
            cloze, mask = cloze_masks[index]
            ranking, probabilities = [words[i] for i in top_indices[row]], top_probabilities[row]
            prompt = {"prompt_id": cloze.prompt_id(mask), "prompt": cloze.title(mask)}
            scores = _compute_word_list_scores(cloze, log_probabilities[row], token_ids, ranking)
            scores |= _compute_forbidden_scores(cloze, ranking, best_ranks[row])
            if metrics:
                prediction = _build_prediction(cloze, mask, ranking, probabilities, log_probabilities[row], token_ids)
                scores |= {metric.name: metric.score(prediction) for metric in metrics}
            prompts.append(prompt | _describe_prompt(cloze, mask) | scores)
            fills.extend(
                prompt | {"rank": rank, "word": word, "probability": float(probability)}
                for rank, (word, probability) in enumerate(zip(ranking, probabilities, strict=True), 1)
            )
            if cloze.text in summarized_texts:
                word_means.add(cloze, log_probabilities[row])
            listed_words.append(_get_listed_words(cloze, log_probabilities[row], token_ids))
            index += 1
    phrases: list[TableRow] = []
    if not skip_slow_scores:
        _add_prior_scores(prompts, cloze_masks, token_ids, predict)
        _add_sentiment_scores(prompts, fills, cloze_masks, sentiment)
        if score_phrases is not None:
            phrases = score_phrases(token_ids)
            _add_per_token_log_odds(prompts, cloze_masks, listed_words, phrases)
    slots = dict.fromkeys(slot for cloze in clozes for slot in cloze.slots)
    summarized_titles = {cloze.title(mask) for cloze, mask in cloze_masks if cloze.text in summarized_texts}
    return ProbeScores(
        pa.Table.from_pylist(prompts, prompt_table_schema(slots, [metric.name for metric in metrics])),
        pa.Table.from_pylist([fill for fill in fills if fill["prompt"] in summarized_titles], FILL_SCHEMA),
        pa.Table.from_pylist(word_means.to_rows(), WORD_SCHEMA),
        pa.Table.from_pylist([row for row in phrases if row["prompt"] in summarized_titles], PHRASE_SCHEMA),
        {role: sorted(word for word in words_by_role[role] if token_ids[word] is None) for role in WORD_ROLES},
        split,
    )


def _describe_prompt(cloze: Cloze, mask: int) -> TableRow:
    description = {"split": cloze.split, "role": cloze.role, "subject": cloze.subject, "pair_id": cloze.pair_id(mask)}
    return {"mask": mask, "template": cloze.template} | description | cloze.slots


def _build_prediction(
    cloze: Cloze,
    mask: int,
    ranking: list[str],
    probabilities: npt.NDArray[np.float64],
    log_probabilities: LogProbabilities,
    token_ids: dict[str, int | None],
) -> PromptPrediction:
    """Build the input of user-defined metrics for one mask of a prompt."""
    listed_words = _get_listed_words(cloze, log_probabilities, token_ids)
    listed_probabilities = {word: float(np.exp(score)) for word, score in listed_words.items()}
    return PromptPrediction(
        cloze.text,
        mask,
        cloze.wanted,
        cloze.unwanted,
        cloze.forbidden,
        tuple(ranking),
        tuple(float(probability) for probability in probabilities),
        listed_probabilities,
    )


def _get_listed_words(
    cloze: Cloze, log_probabilities: LogProbabilities, token_ids: dict[str, int | None]
) -> dict[str, float]:
    """Return the log probability of each word that the prompt lists and that is a single token."""
    return {
        word: log_probabilities[i]
        for role in WORD_ROLES
        for word in getattr(cloze, role)
        if (i := token_ids[word]) is not None
    }


def _compute_word_list_scores(
    cloze: Cloze, log_probabilities: LogProbabilities, token_ids: dict[str, int | None], ranking: list[str]
) -> TableRow:
    wanted_ids, unwanted_ids = (_list_token_ids(words, token_ids) for words in (cloze.wanted, cloze.unwanted))
    if not wanted_ids or not unwanted_ids:
        return {"scored": False}
    wanted, unwanted = log_probabilities[wanted_ids], log_probabilities[unwanted_ids]
    lowercase_ranking = [word.casefold() for word in ranking]
    return {
        "scored": True,
        "log_odds": float(log_odds(wanted, unwanted)),
        "wanted_mass": float(probability_sum(wanted)),
        "unwanted_mass": float(probability_sum(unwanted)),
        **word_list_scores(lowercase_ranking, _lowercase(cloze.wanted), _lowercase(cloze.unwanted)),
    }


def _compute_forbidden_scores(cloze: Cloze, ranking: list[str], best_rank: int) -> TableRow:
    if not best_rank:
        return {}
    return forbidden_scores([word.casefold() for word in ranking], _lowercase(cloze.forbidden), best_rank)


def _find_best_forbidden_ranks(
    candidates: torch.Tensor,
    cloze_masks: Sequence[tuple[Cloze, int]],
    token_ids: dict[str, int | None],
    candidate_ids: npt.NDArray[np.int64],
) -> list[int]:
    """Return the rank of each prompt's most likely forbidden word among all whole words, or 0 if there is none."""
    ranks = []
    for row, (cloze, _) in zip(candidates, cloze_masks, strict=False):
        indices = np.flatnonzero(np.isin(candidate_ids, _list_token_ids(cloze.forbidden, token_ids)))
        ranks.append(int((row > row[indices].max()).sum()) + 1 if len(indices) else 0)
    return ranks


def _add_prior_scores(
    prompts: list[TableRow],
    cloze_masks: Sequence[tuple[Cloze, int]],
    token_ids: dict[str, int | None],
    predict: Predict,
) -> None:
    """Add the log odds with masked subjects, and the corrected log odds. Duplicate sentences are scored once."""
    texts = list(dict.fromkeys(cloze.prior_text for cloze, _ in cloze_masks if cloze.prior_text is not None))
    predictions: dict[str, list[LogProbabilities]] = {text: [] for text in texts}
    for text_indices, batch in predict(texts):
        for text_index, log_probabilities in zip(text_indices, batch.cpu().numpy(), strict=True):
            predictions[texts[text_index]].append(log_probabilities)
    for row, (cloze, mask) in zip(prompts, cloze_masks, strict=True):
        if cloze.prior_text is not None and row["scored"]:
            prior = predictions[cloze.prior_text][cloze.prior_mask_indices[mask - 1]]
            wanted, unwanted = (
                prior[_list_token_ids(cloze.wanted, token_ids)],
                prior[_list_token_ids(cloze.unwanted, token_ids)],
            )
            prior_odds = float(log_odds(wanted, unwanted))
            row |= {"prior_log_odds": prior_odds, "corrected_log_odds": row["log_odds"] - prior_odds}


def _add_per_token_log_odds(
    prompts: list[TableRow],
    cloze_masks: Sequence[tuple[Cloze, int]],
    listed_words: Sequence[dict[str, float]],
    phrases: Sequence[TableRow],
) -> None:
    """Add the log odds of all listed words, including multi-token words of any length.

    A word's score is its mean log probability per token, so that words of different lengths can be compared. Without
    this correction, longer words would be less likely merely because they have more tokens.
    """
    scores_by_prompt = {row["prompt_id"]: dict(words) for row, words in zip(prompts, listed_words, strict=True)}
    for phrase in phrases:
        scores_by_prompt[phrase["prompt_id"]][phrase["word"]] = phrase["log_probability"] / phrase["tokens"]
    for row, (cloze, _) in zip(prompts, cloze_masks, strict=True):
        scores = scores_by_prompt[row["prompt_id"]]
        wanted, unwanted = ([scores[w] for w in words if w in scores] for words in (cloze.wanted, cloze.unwanted))
        if wanted and unwanted:
            row["per_token_log_odds"] = float(log_odds(np.array(wanted), np.array(unwanted)))


def _add_sentiment_scores(
    prompts: list[TableRow], fills: list[TableRow], cloze_masks: Sequence[tuple[Cloze, int]], sentiment: Sentiment
) -> None:
    """Add the predicted words' sentiment, both alone and within the sentence, and their opinion polarity.

    Only prompts with word lists get these scores.
    """
    count = len(fills) // max(1, len(prompts))
    texts: list[str] = []
    for i, (cloze, mask) in enumerate(cloze_masks):
        before, after = _split_at_mask(cloze.text, mask)
        ranking = [fill["word"] for fill in fills[i * count : (i + 1) * count]]
        unfilled_text = " ".join(MASK_PATTERN.sub("", cloze.text).split())
        texts += [*ranking, *(f"{before}{word}{after}" for word in ranking), unfilled_text]
    scores = sentiment.score(texts)
    for i, (row, (cloze, _)) in enumerate(zip(prompts, cloze_masks, strict=True)):
        if not (cloze.wanted or cloze.unwanted or cloze.forbidden):
            continue
        prompt_scores = scores[i * (2 * count + 1) : (i + 1) * (2 * count + 1)]
        word_scores, filled_scores, unfilled_score = (
            prompt_scores[:count],
            prompt_scores[count : 2 * count],
            prompt_scores[-1],
        )
        ranking = [fill["word"].casefold() for fill in fills[i * count : (i + 1) * count]]
        row |= mean_at_k(word_scores, "sentiment")
        row |= mean_at_k([score - unfilled_score for score in filled_scores], "sentiment_shift")
        row |= opinion_scores(ranking, load_opinion_lexicon())


def _split_at_mask(text: str, mask: int) -> tuple[str, str]:
    """Return the text before and after a mask, with all other masks removed."""
    match = list(MASK_PATTERN.finditer(text))[mask - 1]
    return MASK_PATTERN.sub("", text[: match.start()]), MASK_PATTERN.sub("", text[match.end() :])


class _MeanWordProbabilities:
    """Computes each listed word's mean probability across the prompts that list the word."""

    def __init__(self, token_ids: dict[str, int | None]) -> None:
        self._token_ids = token_ids
        self._probabilities: dict[tuple[str, str], list[float]] = {}

    def add(self, cloze: Cloze, log_probabilities: LogProbabilities) -> None:
        for role in WORD_ROLES:
            for word in getattr(cloze, role):
                if (i := self._token_ids[word]) is not None:
                    self._probabilities.setdefault((role, word), []).append(float(np.exp(log_probabilities[i])))

    def to_rows(self) -> list[TableRow]:
        return [
            {"role": role, "word": word, "probability": sum(probabilities) / len(probabilities)}
            for (role, word), probabilities in self._probabilities.items()
        ]


def _list_token_ids(words: Iterable[str], token_ids: dict[str, int | None]) -> list[int]:
    return sorted({i for word in words if (i := token_ids[word]) is not None})


def _lowercase(words: Iterable[str]) -> set[str]:
    return {word.casefold() for word in words}

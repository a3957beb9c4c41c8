"""Asking a model the prompts of a probe, all in batches, and scoring what it says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from winnow.evaluation.mask_predictions import MASK, answers
from winnow.evaluation.probes.lexicon import ROLES, opinions
from winnow.evaluation.probes.phrases import score_phrases
from winnow.evaluation.probes.probe_scores import FILLS, PHRASES, WORDS, ProbeScores, prompt_schema
from winnow.evaluation.probes.prompt_metrics import (
    KS,
    forbidden_scores,
    listed_scores,
    log_odds,
    mass,
    mean_at_k,
    opinion_scores,
)
from winnow.evaluation.probes.prompts import Cloze
from winnow.evaluation.probes.user_metric import PromptAnswer, PromptMetric
from winnow.evaluation.sentiment import Sentiment
from winnow.evaluation.vocabulary_words import single_tokens, whole_words

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training.forward.masked_logits import ForwardMode

Row = dict[str, Any]
LogProbabilities = npt.NDArray[np.float32]


def ask(
    clozes: Sequence[Cloze],
    sentiment: Sentiment,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str,
    batch_size: int,
    forward: ForwardMode,
    brief: bool,
    metrics: Sequence[PromptMetric] = (),
) -> ProbeScores:
    """Ask a model every prompt of a probe; see :meth:`winnow.evaluation.Probe.run`.

    Probabilities are the float32 softmax over the whole vocabulary at the mask. The words that are ranked are
    whole words only: no pieces, no punctuation, no special tokens.
    """
    asked = [(cloze, mask) for cloze in clozes for mask in range(1, cloze.masks + 1)]
    listed = {role: {word for cloze in clozes for word in getattr(cloze, role)} for role in ROLES}
    ids_of = single_tokens(set().union(*listed.values()), tokenizer)
    candidates, words = whole_words(tokenizer)
    prompts: list[Row] = []
    fills: list[Row] = []
    means = _WordMeans(ids_of)
    place = 0
    for _, answered in answers([cloze.text for cloze in clozes], model, tokenizer, device, batch_size, forward):
        among = answered[:, candidates]
        best = among.topk(min(KS[-1], len(words)))
        tops, shares = best.indices.cpu().numpy(), best.values.exp().cpu().numpy().astype(np.float64)
        table, ranks = answered.cpu().numpy(), _best_ranks(among, asked[place:], ids_of, candidates)
        for row in range(len(table)):
            cloze, mask = asked[place]
            ranked = [words[i] for i in tops[row]]
            name = {"prompt_id": cloze.prompt_id(mask), "prompt": cloze.title(mask)}
            scores = _word_scores(cloze, table[row], ids_of, ranked) | _forbidden(cloze, ranked, ranks[row])
            own = _own_scores(metrics, cloze, mask, ranked, shares[row], table[row], ids_of) if metrics else {}
            prompts.append(name | {"mask": mask, "template": cloze.template} | cloze.slots | scores | own)
            fills.extend(
                name | {"rank": rank, "word": word, "probability": float(share)}
                for rank, (word, share) in enumerate(zip(ranked, shares[row], strict=True), 1)
            )
            means.add(cloze, table[row])
            place += 1
    phrases: list[Row] = []
    if not brief:
        _add_priors(prompts, asked, ids_of, model, tokenizer, device, batch_size, forward)
        _add_sentiment(prompts, fills, asked, sentiment)
        phrases = score_phrases(clozes, ids_of, model, tokenizer, device, forward)
    slots = dict.fromkeys(slot for cloze in clozes for slot in cloze.slots)
    return ProbeScores(
        pa.Table.from_pylist(prompts, prompt_schema(slots, [metric.name for metric in metrics])),
        pa.Table.from_pylist(fills, FILLS),
        pa.Table.from_pylist(means.rows(), WORDS),
        pa.Table.from_pylist(phrases, PHRASES),
        {role: sorted(word for word in listed[role] if ids_of[word] is None) for role in ROLES},
    )


def _own_scores(
    metrics: Sequence[PromptMetric],
    cloze: Cloze,
    mask: int,
    ranked: list[str],
    shares: npt.NDArray[np.float64],
    log_probabilities: LogProbabilities,
    ids_of: dict[str, int | None],
) -> Row:
    """Return the scores of the user's own metrics for one mask of a prompt."""
    listed = {
        word: float(np.exp(log_probabilities[i]))
        for role in ROLES
        for word in getattr(cloze, role)
        if (i := ids_of[word]) is not None
    }
    words, probabilities = tuple(ranked), tuple(float(share) for share in shares)
    answer = PromptAnswer(cloze.text, mask, cloze.wanted, cloze.unwanted, cloze.forbidden, words, probabilities, listed)
    return {metric.name: metric.score(answer) for metric in metrics}


def _word_scores(
    cloze: Cloze, log_probabilities: LogProbabilities, ids_of: dict[str, int | None], ranked: list[str]
) -> Row:
    wanted, unwanted = (_ids(words, ids_of) for words in (cloze.wanted, cloze.unwanted))
    if not wanted or not unwanted:
        return {"scored": False}
    good, bad = log_probabilities[wanted], log_probabilities[unwanted]
    found = [word.casefold() for word in ranked]
    return {
        "scored": True,
        "log_odds": float(log_odds(good, bad)),
        "wanted_mass": float(mass(good)),
        "unwanted_mass": float(mass(bad)),
        **listed_scores(found, _folded(cloze.wanted), _folded(cloze.unwanted)),
    }


def _forbidden(cloze: Cloze, ranked: list[str], best_rank: int) -> Row:
    if not best_rank:
        return {}
    return forbidden_scores([word.casefold() for word in ranked], _folded(cloze.forbidden), best_rank)


def _best_ranks(
    among: torch.Tensor,
    asked: Sequence[tuple[Cloze, int]],
    ids_of: dict[str, int | None],
    candidates: npt.NDArray[np.int64],
) -> list[int]:
    """Return the rank of the likeliest forbidden word of each prompt among all whole words; 0 where it has none."""
    ranks = []
    for row, (cloze, _) in zip(among, asked, strict=False):
        places = np.flatnonzero(np.isin(candidates, _ids(cloze.forbidden, ids_of)))
        ranks.append(int((row > row[places].max()).sum()) + 1 if len(places) else 0)
    return ranks


def _add_priors(
    prompts: list[Row],
    asked: Sequence[tuple[Cloze, int]],
    ids_of: dict[str, int | None],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str,
    batch_size: int,
    forward: ForwardMode,
) -> None:
    """Add the log odds with the subjects masked too, and the corrected ones; equal sentences are asked once."""
    texts = list(dict.fromkeys(cloze.prior for cloze, _ in asked if cloze.prior is not None))
    found: dict[str, list[LogProbabilities]] = {text: [] for text in texts}
    for owners, answered in answers(texts, model, tokenizer, device, batch_size, forward):
        for owner, log_probabilities in zip(owners, answered.cpu().numpy(), strict=True):
            found[texts[owner]].append(log_probabilities)
    for row, (cloze, mask) in zip(prompts, asked, strict=True):
        if cloze.prior is not None and row["scored"]:
            prior = found[cloze.prior][cloze.asked[mask - 1]]
            odds = float(log_odds(prior[_ids(cloze.wanted, ids_of)], prior[_ids(cloze.unwanted, ids_of)]))
            row |= {"prior_log_odds": odds, "corrected_log_odds": row["log_odds"] - odds}


def _add_sentiment(
    prompts: list[Row], fills: list[Row], asked: Sequence[tuple[Cloze, int]], sentiment: Sentiment
) -> None:
    """Add how the fills of prompts with words sound, alone and in their sentence, and what a second lexicon says."""
    each = len(fills) // max(1, len(prompts))
    texts: list[str] = []
    for i, (cloze, mask) in enumerate(asked):
        before, after = _around(cloze.text, mask)
        ranked = [fill["word"] for fill in fills[i * each : (i + 1) * each]]
        texts += [*ranked, *(f"{before}{word}{after}" for word in ranked), " ".join(MASK.sub("", cloze.text).split())]
    scores = sentiment.score(texts)
    for i, (row, (cloze, _)) in enumerate(zip(prompts, asked, strict=True)):
        if not (cloze.wanted or cloze.unwanted or cloze.forbidden):
            continue
        own = scores[i * (2 * each + 1) : (i + 1) * (2 * each + 1)]
        alone, filled, unfilled = own[:each], own[each : 2 * each], own[-1]
        ranked = [fill["word"].casefold() for fill in fills[i * each : (i + 1) * each]]
        row |= mean_at_k(alone, "sentiment")
        row |= mean_at_k([value - unfilled for value in filled], "sentiment_shift")
        row |= opinion_scores(ranked, opinions())


def _around(text: str, mask: int) -> tuple[str, str]:
    """Return what stands before and after a mask, other masks taken out."""
    place = list(MASK.finditer(text))[mask - 1]
    return MASK.sub("", text[: place.start()]), MASK.sub("", text[place.end() :])


class _WordMeans:
    """Adds up the probability of each listed word over the prompts that list it."""

    def __init__(self, ids_of: dict[str, int | None]) -> None:
        self._ids_of = ids_of
        self._sums: dict[tuple[str, str], list[float]] = {}

    def add(self, cloze: Cloze, log_probabilities: LogProbabilities) -> None:
        for role in ROLES:
            for word in getattr(cloze, role):
                if (i := self._ids_of[word]) is not None:
                    self._sums.setdefault((role, word), []).append(float(np.exp(log_probabilities[i])))

    def rows(self) -> list[Row]:
        return [
            {"role": role, "word": word, "probability": sum(shares) / len(shares)}
            for (role, word), shares in self._sums.items()
        ]


def _ids(words: Iterable[str], ids_of: dict[str, int | None]) -> list[int]:
    return sorted({i for word in words if (i := ids_of[word]) is not None})


def _folded(words: Iterable[str]) -> set[str]:
    return {word.casefold() for word in words}

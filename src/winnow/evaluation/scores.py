"""Asking a model the prompts of a probe, all in batches, and keeping what it says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from winnow.evaluation.answers import answers
from winnow.evaluation.metrics import KS, PROMPT_SCORES, log_odds, mass, share_at_k
from winnow.evaluation.probe import Cloze
from winnow.evaluation.words import single_tokens, whole_words

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training.forward import Forward


@dataclass(frozen=True)
class ProbeScores:
    """What a model said to each prompt.

    Attributes:
        prompts: A row for each prompt: ``prompt_id``, ``prompt``, a column for each slot, ``scored``, and the
            scores of :mod:`winnow.evaluation.metrics`: ``log_odds``, ``wanted_mass``, ``unwanted_mass``,
            ``positive_at_{1,5,10,20}`` and ``negative_at_{1,5,10,20}``. The scores are null where the prompt
            is not scored: it names no words, or all its wanted or all its unwanted words are uncovered.
        fills: The first 20 words for each prompt: ``prompt_id``, ``prompt``, ``rank`` from 1, ``word`` and
            ``probability`` (of the whole vocabulary, so those of a prompt need not sum to 1).
        uncovered: The ``wanted`` and ``unwanted`` words that are no single token of the vocabulary; they
            count nowhere.
    """

    prompts: pa.Table
    fills: pa.Table
    uncovered: dict[str, list[str]]

    def summary(self) -> dict[str, float]:
        """Return the mean of every score over the scored prompts, and ``scored_prompts``, how many there are."""
        scored = self.prompts.filter(self.prompts["scored"])
        means = {name: pc.mean(scored[name]).as_py() for name in PROMPT_SCORES} if len(scored) else {}
        return {**means, "scored_prompts": float(len(scored))}


def ask(
    clozes: Sequence[Cloze],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str,
    batch_size: int,
    forward: Forward,
) -> ProbeScores:
    """Ask a model every prompt.

    Probabilities are the float32 softmax over the whole vocabulary at the mask. The words that are ranked are
    whole words only: no pieces, no punctuation, no special tokens.

    Args:
        clozes: The prompts.
        model: A masked language model; its mode and device are put back afterwards.
        tokenizer: Its tokenizer.
        device: Where to ask.
        batch_size: Prompts asked at a time.
        forward: How the model is called; see :func:`winnow.training.masked_logits`.
    """
    ids_of = single_tokens({word for cloze in clozes for word in (*cloze.wanted, *cloze.unwanted)}, tokenizer)
    candidates, words = whole_words(tokenizer)
    prompts: list[dict[str, Any]] = []
    fills: list[dict[str, Any]] = []
    slots = dict.fromkeys(slot for cloze in clozes for slot in cloze.slots)
    texts = [cloze.text for cloze in clozes]
    for owners, answered in answers(texts, model, tokenizer, device, batch_size, forward):
        for owner, log_probabilities in zip(owners, answered.cpu().numpy(), strict=True):
            cloze = clozes[owner]
            among = log_probabilities[candidates]
            best = np.argsort(-among, kind="stable")[: KS[-1]]
            ranked = [words[i] for i in best]
            name = {"prompt_id": cloze.prompt_id, "prompt": cloze.text}
            prompts.append(
                name
                | {slot: cloze.slots.get(slot) for slot in slots}
                | _scores(cloze, log_probabilities, ids_of, ranked)
            )
            fills.extend(
                name | {"rank": rank, "word": words[i], "probability": float(np.exp(among[i]))}
                for rank, i in enumerate(best, start=1)
            )
    return ProbeScores(
        pa.Table.from_pylist(prompts, _prompt_schema(slots)),
        pa.Table.from_pylist(fills, _FILLS),
        {
            "wanted": _without_token((word for cloze in clozes for word in cloze.wanted), ids_of),
            "unwanted": _without_token((word for cloze in clozes for word in cloze.unwanted), ids_of),
        },
    )


def _scores(
    cloze: Cloze, log_probabilities: npt.NDArray[np.float32], ids_of: dict[str, int | None], ranked: list[str]
) -> dict[str, Any]:
    wanted, unwanted = (
        sorted({i for word in words if (i := ids_of[word]) is not None}) for words in (cloze.wanted, cloze.unwanted)
    )
    if not wanted or not unwanted:
        return {"scored": False}
    good, bad = log_probabilities[wanted], log_probabilities[unwanted]
    hoped, feared = ({word.casefold() for word in words} for words in (cloze.wanted, cloze.unwanted))
    found = [word.casefold() for word in ranked]
    return {
        "scored": True,
        "log_odds": float(log_odds(good, bad)),
        "wanted_mass": float(mass(good)),
        "unwanted_mass": float(mass(bad)),
        **{f"positive_at_{k}": share_at_k(found, hoped, k) for k in KS},
        **{f"negative_at_{k}": share_at_k(found, feared, k) for k in KS},
    }


def _without_token(words: Iterable[str], ids_of: dict[str, int | None]) -> list[str]:
    return sorted({word for word in words if ids_of[word] is None})


_FILLS = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("rank", pa.int64()),
        ("word", pa.string()),
        ("probability", pa.float64()),
    ]
)


def _prompt_schema(slots: Iterable[str]) -> pa.Schema:
    return pa.schema(
        [("prompt_id", pa.string()), ("prompt", pa.string())]
        + [(slot, pa.string()) for slot in slots]
        + [("scored", pa.bool_())]
        + [(name, pa.float64()) for name in PROMPT_SCORES]
    )

"""Asking a model the prompts of a probe, all in batches, and keeping what it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from winnow.evaluation.metrics import KS, PROMPT_SCORES, log_odds, mass, share_at_k
from winnow.evaluation.probe import MASK, Cloze
from winnow.evaluation.rows import evaluating

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
    for some, answers in _answers(clozes, model, tokenizer, device, batch_size, forward):
        for cloze, log_probabilities in zip(some, answers, strict=True):
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


def single_tokens(words: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> dict[str, int | None]:
    """Return the id of each word within a sentence, or ``None`` where it is several tokens or unknown."""
    words = sorted(words)
    if not words:
        return {}
    # The blank makes a byte-level tokenizer write the word as it stands inside a sentence.
    encoded = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    return {
        word: ids[0] if len(ids) == 1 and ids[0] != tokenizer.unk_token_id else None
        for word, ids in zip(words, encoded, strict=True)
    }


def whole_words(tokenizer: PreTrainedTokenizerFast) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return the ids that stand for a whole word, and the words.

    An id stands for a whole word if the tokenizer writes that word inside a sentence as this one token, and
    the word has a letter or a digit. That leaves out pieces, punctuation and special tokens of any kind of
    tokenizer.
    """
    special = set(tokenizer.all_special_ids)
    ids = [i for i in sorted(tokenizer.get_vocab().values()) if i not in special]
    words = [word.strip() for word in tokenizer.batch_decode([[i] for i in ids])]
    spelt = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    whole = [
        (i, word)
        for i, word, tokens in zip(ids, words, spelt, strict=True)
        if tokens == [i] and any(map(str.isalnum, word))
    ]
    return np.array([i for i, _ in whole], dtype=np.int64), [word for _, word in whole]


def _answers(
    clozes: Sequence[Cloze],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str,
    batch_size: int,
    forward: Forward,
) -> Iterator[tuple[Sequence[Cloze], npt.NDArray[np.float32]]]:
    """Yield prompts with the log probabilities at their masks, shape ``(prompts, vocabulary)``."""
    from winnow.training import masked_logits
    from winnow.training.batch import Batch
    from winnow.training.masking import IGNORED

    for start in range(0, len(clozes), batch_size):
        some = clozes[start : start + batch_size]
        texts = [MASK.sub(lambda _: tokenizer.mask_token, cloze.text) for cloze in some]
        rows = tokenizer(texts)["input_ids"]
        ids = np.concatenate(rows)
        labels = np.where(ids == tokenizer.mask_token_id, ids, IGNORED)
        batch = Batch.of(ids, labels, np.array([len(row) for row in rows]))
        with evaluating(model, device):
            logits, _ = masked_logits(model, batch.to(device), forward)
            answers = logits.log_softmax(-1).cpu().numpy()
        yield some, answers


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

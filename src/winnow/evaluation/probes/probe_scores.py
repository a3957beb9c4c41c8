"""What a model said to the prompts of a probe, as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.evaluation.probes.lexicon import ROLES
from winnow.evaluation.probes.prompt_metrics import PROMPT_SCORES, log_odds


@dataclasses.dataclass(frozen=True)
class ProbeScores:
    """What a model said to each prompt; a prompt with several masks is a prompt for each of them.

    Attributes:
        prompts: A row for each prompt: ``prompt_id``, ``prompt``, ``mask`` (from 1), ``template`` (the prompt itself if
            it was written out), a column for each slot, ``scored`` (whether it has log odds), the scores of
            :mod:`winnow.evaluation.probes.prompt_metrics`, and those of the user's own metrics. A score is null if the
            prompt lists no words for it, or none of them is a single token.
        fills: The first 20 words for each prompt: ``prompt_id``, ``prompt``, ``rank`` from 1, ``word`` and
            ``probability`` (of the whole vocabulary, so those of a prompt need not sum to 1).
        words: Each listed word of a single token: ``role``, ``word`` and the mean ``probability`` over the prompts that
            list it.
        phrases: Each listed word of several tokens at each prompt; see
            :func:`winnow.evaluation.probes.phrases.score_phrases`.
        uncovered: For each role the words that are no single token of the vocabulary; they count in ``phrases`` only.
    """

    prompts: pa.Table
    fills: pa.Table
    words: pa.Table
    phrases: pa.Table
    uncovered: dict[str, list[str]]

    def summary(self) -> dict[str, float]:
        """Return the mean of every score over the prompts that have it, and counts.

        ``scored_prompts`` is how many have log odds. Words of n tokens give ``log_odds_of_n_tokens`` where wanted and
        unwanted ones are as long. Where it is known which prompts the training data have (``seen``), the log odds of
        those it has not are ``held_out_log_odds``.
        """
        columns = [field.name for field in self.prompts.schema if pa.types.is_float64(field.type)]
        found = {name: pc.mean(self.prompts[name]).as_py() for name in columns}
        means = {name: value for name, value in found.items() if value is not None}
        scored = self.prompts.filter(self.prompts["scored"])
        if "seen" in self.prompts.column_names and len(scored):
            means["seen_prompts"] = float(pc.sum(scored["seen"]).as_py())
            if len(new := scored.filter(pc.invert(scored["seen"]))):
                means["held_out_log_odds"] = pc.mean(new["log_odds"]).as_py()
        return {**means, **_phrase_odds(self.phrases), "scored_prompts": float(len(scored))}

    def coverage(self) -> dict[str, float]:
        """Return for each role with words which share of them is a single token of the vocabulary."""
        counts = {role: pc.sum(pc.equal(self.words["role"], role)).as_py() or 0 for role in ROLES}
        totals = {role: counts[role] + len(self.uncovered[role]) for role in ROLES}
        return {role: counts[role] / totals[role] for role in ROLES if totals[role]}

    def with_seen(self, seen: Collection[str]) -> ProbeScores:
        """Return the same scores with a column ``seen``: whether the training data have a prompt, by its title."""
        flags = pa.array([prompt in seen for prompt in self.prompts["prompt"].to_pylist()])
        return dataclasses.replace(self, prompts=self.prompts.append_column("seen", flags))


def _phrase_odds(phrases: pa.Table) -> dict[str, float]:
    """Return the mean log odds of words of each number of tokens, over the prompts that have both kinds so long."""
    if not len(phrases):
        return {}
    odds: dict[int, list[float]] = {}
    for (_, tokens), group in phrases.to_pandas().groupby(["prompt_id", "tokens"]):
        good, bad = (group.loc[group["role"] == role, "log_probability"].to_numpy() for role in ("wanted", "unwanted"))
        if len(good) and len(bad):
            odds.setdefault(tokens, []).append(float(log_odds(good, bad)))
    return {f"log_odds_of_{tokens}_tokens": float(np.mean(values)) for tokens, values in sorted(odds.items())}


def topk_rows(model: str, probes: Mapping[str, ProbeScores], most: int = 10) -> list[dict[str, Any]]:
    """Return the first words of a model at each prompt, a row a rank, so that tables of many models can be joined.

    Args:
        model: What the model is called in the table.
        probes: Scores by the name of the probe.
        most: Ranks kept.
    """
    return [
        {"model": model, "probe": name, **{key: line[key] for key in ("prompt", "rank", "word", "probability")}}
        for name, scores in probes.items()
        for line in scores.fills.to_pylist()
        if line["rank"] <= most
    ]


FILLS = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("rank", pa.int64()),
        ("word", pa.string()),
        ("probability", pa.float64()),
    ]
)
WORDS = pa.schema([("role", pa.string()), ("word", pa.string()), ("probability", pa.float64())])
PHRASES = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("role", pa.string()),
        ("word", pa.string()),
        ("tokens", pa.int64()),
        ("log_probability", pa.float64()),
    ]
)


def prompt_schema(slots: Iterable[str], metrics: Iterable[str] = ()) -> pa.Schema:
    """Return the columns of the table of prompts, given the slots of their templates and the user's own metrics."""
    return pa.schema(
        [("prompt_id", pa.string()), ("prompt", pa.string()), ("mask", pa.int64()), ("template", pa.string())]
        + [(slot, pa.string()) for slot in slots]
        + [("scored", pa.bool_())]
        + [(name, pa.float64()) for name in (*PROMPT_SCORES, *metrics)]
    )

"""Tables of a model's scores on the prompts of a probe."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.evaluation.probes.lexicon import WORD_ROLES
from winnow.evaluation.probes.prompt_score_formulas import PROMPT_SCORES, log_odds
from winnow.evaluation.probes.prompts import PROMPT_COLUMNS


@dataclasses.dataclass(frozen=True)
class ProbeScores:
    """A model's scores on each prompt of a probe. A prompt with several masks counts as one prompt per mask.

    Attributes:
        prompts: One row per prompt: ``prompt_id``, ``prompt``, ``mask`` (from 1), ``template`` (the prompt itself if
            there is no template), ``split`` (``validation``, ``test`` or ``both``), ``role`` (``subject`` or
            ``comparison``), ``subject`` (null if the prompt contains no subject), ``pair_id`` (shared by a prompt and
            its comparison prompts), one column per slot, ``scored`` (whether the prompt has log odds), the scores of
            :mod:`winnow.evaluation.probes.prompt_score_formulas`, and the scores of user-defined metrics. A score is
            null if the prompt has no words for that score, or if none of these words is a single token.
        fills: The 20 most likely words per summarized prompt: ``prompt_id``, ``prompt``, ``rank`` (from 1), ``word``
            and ``probability`` (over the full vocabulary, so the 20 values need not sum to 1).
        words: One row per listed word that is a single token: ``role``, ``word`` and the word's mean ``probability``
            across the summarized prompts that list the word.
        phrases: One row per summarized prompt and listed multi-token word; see
            :func:`winnow.evaluation.probes.multi_token_words.score_multi_token_words`.
        uncovered: For each role, the words that are not single tokens of the vocabulary. These words can appear only in
            ``phrases``.
        split: The half of the templates whose prompts are summarized, ``validation`` or ``test``. Comparison prompts
            are never summarized.
    """

    prompts: pa.Table
    fills: pa.Table
    words: pa.Table
    phrases: pa.Table
    uncovered: dict[str, list[str]]
    split: str = "test"

    @property
    def summarized_prompts(self) -> pa.Table:
        """The rows of ``prompts`` that the summary covers."""
        is_in_split = pc.is_in(self.prompts["split"], pa.array([self.split, "both"]))
        return self.prompts.filter(pc.and_(is_in_split, pc.equal(self.prompts["role"], "subject")))

    def summary(self) -> dict[str, float]:
        """Return each score's mean across the summarized prompts that have this score, and the prompt counts.

        ``scored_prompts`` is the number of prompts with log odds. ``log_odds_of_n_tokens`` compares wanted and unwanted
        words of n tokens. If contaminated prompts are marked (:meth:`mark_contaminated`), ``seen_prompts`` is the
        number of contaminated prompts with log odds, and ``held_out_log_odds`` is the mean log odds of the prompts that
        are not contaminated.
        """
        prompts = self.summarized_prompts
        columns = [field.name for field in prompts.schema if pa.types.is_float64(field.type)]
        column_means = {name: pc.mean(prompts[name]).as_py() for name in columns}
        means = {name: value for name, value in column_means.items() if value is not None}
        scored_prompts = prompts.filter(prompts["scored"])
        if "seen" in prompts.column_names and len(scored_prompts):
            means["seen_prompts"] = float(pc.sum(scored_prompts["seen"]).as_py())
            if len(held_out_prompts := scored_prompts.filter(pc.invert(scored_prompts["seen"]))):
                means["held_out_log_odds"] = pc.mean(held_out_prompts["log_odds"]).as_py()
        return {**means, **_compute_multi_token_log_odds(self.phrases), "scored_prompts": float(len(scored_prompts))}

    def coverage(self) -> dict[str, float]:
        """Return the fraction of words that are single tokens of the vocabulary, for each role that has words."""
        counts = {role: pc.sum(pc.equal(self.words["role"], role)).as_py() or 0 for role in WORD_ROLES}
        totals = {role: counts[role] + len(self.uncovered[role]) for role in WORD_ROLES}
        return {role: counts[role] / totals[role] for role in WORD_ROLES if totals[role]}

    def mark_contaminated(self, contaminated: Collection[str]) -> ProbeScores:
        """Return the scores with an additional column ``seen``: whether the prompt occurs in the training data.

        Args:
            contaminated: The titles of the prompts that occur in the training data.
        """
        flags = pa.array([prompt in contaminated for prompt in self.prompts["prompt"].to_pylist()])
        return dataclasses.replace(self, prompts=self.prompts.append_column("seen", flags))


def _compute_multi_token_log_odds(phrases: pa.Table) -> dict[str, float]:
    """Return the mean log odds of multi-token words for each number of tokens.

    The mean is taken across the prompts that have both wanted and unwanted words with this number of tokens.
    """
    if not len(phrases):
        return {}
    odds: dict[int, list[float]] = {}
    for (_, tokens), group in phrases.to_pandas().groupby(["prompt_id", "tokens"]):
        wanted, unwanted = (
            group.loc[group["role"] == role, "log_probability"].to_numpy() for role in ("wanted", "unwanted")
        )
        if len(wanted) and len(unwanted):
            odds.setdefault(tokens, []).append(float(log_odds(wanted, unwanted)))
    return {f"log_odds_of_{tokens}_tokens": float(np.mean(values)) for tokens, values in sorted(odds.items())}


def top_k_rows(model: str, probes: Mapping[str, ProbeScores], k: int = 10) -> list[dict[str, Any]]:
    """Return a model's ``k`` most likely words for each prompt, one row per word.

    Args:
        model: The model's name in the table, so that the tables of several models can be concatenated.
        probes: The scores of each probe, by probe name.
        k: The number of words per prompt.
    """
    return [
        {"model": model, "probe": name, **{key: fill[key] for key in ("prompt", "rank", "word", "probability")}}
        for name, scores in probes.items()
        for fill in scores.fills.to_pylist()
        if fill["rank"] <= k
    ]


FILL_SCHEMA = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("rank", pa.int64()),
        ("word", pa.string()),
        ("probability", pa.float64()),
    ]
)
WORD_SCHEMA = pa.schema([("role", pa.string()), ("word", pa.string()), ("probability", pa.float64())])
PHRASE_SCHEMA = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("role", pa.string()),
        ("word", pa.string()),
        ("tokens", pa.int64()),
        ("log_probability", pa.float64()),
    ]
)


def prompt_table_schema(slots: Iterable[str], metrics: Iterable[str] = ()) -> pa.Schema:
    """Return the schema of the prompt table, given the slots of the templates and the user-defined metrics."""
    return pa.schema(
        [(name, pa.int64() if name == "mask" else pa.string()) for name in PROMPT_COLUMNS]
        + [(slot, pa.string()) for slot in slots]
        + [("scored", pa.bool_())]
        + [(name, pa.float64()) for name in (*PROMPT_SCORES, *metrics)]
    )

"""What a model scores: on the held-out rows, whose masks never change, and on the probes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from winnow.config import TrainConfig
from winnow.config.schema import Evaluation
from winnow.data.fingerprint import fingerprint
from winnow.run.baseline_cache import BaseScores
from winnow.run.components import Parts, device_of
from winnow.run.inputs import Ready

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.evaluation import Probe, ProbeScores
    from winnow.training import TokenRows
    from winnow.training.forward.masked_logits import Forward


@dataclass(frozen=True)
class Measured:
    """What a model scored: a row a held-out text, a number a metric, the probes' tables, and facts on their words."""

    rows: pa.Table
    scores: dict[str, float]
    probes: dict[str, ProbeScores]
    words: dict[str, dict[str, Any]]


def measure(config: TrainConfig, parts: Parts, ready: Ready, model: PreTrainedModel, is_base: bool = False) -> Measured:
    """Score a model on the held-out rows, whose masks never change, and on the probes.

    The scores of a base model are kept, since several cells begin with the same.
    """
    from winnow.evaluation.probes.contamination import seen_prompts

    device, forward = device_of(parts), config.training.forward
    kept = BaseScores.of(model, device, forward, config.output_dir / "cache") if is_base else None
    tables: list[pa.Table] = []
    scores: dict[str, float] = {}
    for name, held_out in ready.held_out.items():
        rows, found = measure_rows(
            name,
            held_out,
            ready.tokens[name],
            ready.members[name],
            config.evaluation,
            model,
            ready.tokenizer,
            device,
            forward,
            kept,
        )
        tables.append(rows)
        scores |= found
    texts = ready.corpus.split("train")["text"]
    probes = {}
    for name, probe in parts.probes.items():
        ask = functools.partial(probe.run, model, ready.tokenizer, device, forward=forward)
        vocabulary = ready.tokens["test"].vocabulary.fingerprint
        answered = kept.probe(fingerprint(probe.fingerprint(), vocabulary), ask) if kept else ask()
        probes[name] = answered.with_seen(seen_prompts(texts, probe.clozes))
    words = {name: words_of(parts.probes[name], one, parts.filter.words()) for name, one in probes.items()}
    shares = {f"probe/{name}/filter_overlap": facts["filter_overlap"] for name, facts in words.items()}
    scores |= probe_summaries(probes) | shares
    return Measured(pa.concat_tables(tables, promote_options="default"), scores, probes, words)


def words_of(probe: Probe, scores: ProbeScores, filter_words: Collection[str]) -> dict[str, Any]:
    """Return what must be known of a probe's words to judge its scores.

    That is which lexicon they come from, how many of them the vocabulary has, and how many the filter lists too: a
    filter on the probe's own words succeeds by construction.
    """
    own, filtered = probe.words(), {word.casefold() for word in filter_words}
    lexicon = probe.words_of_lexicon
    told = {"name": lexicon.name, "version": lexicon.version, "fingerprint": lexicon.fingerprint()} if lexicon else None
    return {
        "lexicon": told,
        "coverage": scores.coverage(),
        "uncovered": scores.uncovered,
        "shared_with_filter": sorted(own & filtered),
        "filter_overlap": len(own & filtered) / len(own) if own else 0.0,
    }


def measure_rows(
    name: str,
    held_out: pa.Table,
    tokens: TokenRows,
    members: Mapping[str, npt.NDArray[np.bool_]],
    evaluation: Evaluation,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device,
    forward: Forward,
    kept: BaseScores | None = None,
) -> tuple[pa.Table, dict[str, float]]:
    """Score a model on held-out rows.

    The masks of a row depend on the mask seed, the row and the tokenizer alone, and never on `masking`, which an arm
    may change; so every arm guesses the same tokens.

    Returns:
        A line for each row, and every metric of each slice as `NAME/SLICE/METRIC`.
    """
    from winnow.evaluation import score_pseudo, score_rows, slice_metrics
    from winnow.training import Masking

    texts = held_out["text"].to_pylist()
    pseudo_rows = evaluation.pseudo_rows if name != "validation" else None

    def score() -> pa.Table:
        seed, batch_size = evaluation.mask_seed, evaluation.batch_size
        rows = score_rows(model, tokens, Masking(), seed, batch_size, device, forward=forward)
        if pseudo_rows is None:
            return rows
        longest = int(tokens.lengths.max(initial=2))
        return score_pseudo(rows, texts, pseudo_rows, model, tokenizer, device, forward, longest)

    asked = fingerprint(
        held_out["row_id"].to_pylist(),
        texts if pseudo_rows is not None else None,
        hashlib.blake2b(tokens.ids.tobytes() + tokens.offsets.tobytes(), digest_size=8).hexdigest(),
        tokens.vocabulary.fingerprint,
        evaluation.mask_seed,
        pseudo_rows,
    )
    rows = kept.rows(asked, score) if kept else score()
    scores = {
        f"{name}/{slice_name}/{metric}": value
        for slice_name, metrics in slice_metrics(rows, members).items()
        for metric, value in metrics.items()
    }
    for column, values in (
        ("split", held_out["split"]),
        ("source", held_out["source"]),
        ("slices", _slice_names(members)),
    ):
        rows = rows.append_column(column, values)
    return rows, scores


def probe_summaries(probes: Mapping[str, ProbeScores]) -> dict[str, float]:
    """Return the mean scores of all probes as `probe/NAME/METRIC`."""
    return {
        f"probe/{name}/{metric}": value for name, scores in probes.items() for metric, value in scores.summary().items()
    }


def _slice_names(members: Mapping[str, npt.NDArray[np.bool_]]) -> pa.Array:
    """Return for each row the names of its slices; `all` goes without saying."""
    named = {name: inside for name, inside in members.items() if name != "all"}
    names = [[name for name, inside in named.items() if inside[row]] for row in range(len(members["all"]))]
    return pa.array(names, pa.list_(pa.string()))

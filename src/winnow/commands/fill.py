"""`winnow fill`: what models put at the masks of one sentence, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from winnow.commands.model_lookup import find_contenders, load_contender
from winnow.config import FillConfig, construct
from winnow.errors import WinnowError
from winnow.formatting import format_bar
from winnow.tracking import Store

Ranked = Sequence[tuple[str, float]]


def run_fill(text: str, config: FillConfig, console: Console, as_json: bool = False) -> None:
    """Ask every model for the words behind the masks of a sentence, and print them ranked, with bars or as JSON.

    Raises:
        WinnowError: The sentence has no mask or too many, or a model cannot be had.
    """
    from winnow.evaluation import fill_masks
    from winnow.evaluation.mask_predictions import mask_error

    if fault := mask_error(text):
        raise WinnowError(fault, "text")
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    fills: dict[str, list[Ranked]] = {}
    for place, contender in enumerate(find_contenders(config.models, store)):
        loaded = load_contender(contender, place)
        fills[contender.label] = [*fill_masks(text, loaded.model, loaded.tokenizer, config.top_k)]
    if as_json:
        print(json.dumps({"text": text, "models": _plain(fills)}, indent=2, ensure_ascii=False))
        return
    console.print(escape(text), style="bold")
    masks = len(next(iter(fills.values())))
    for mask in range(masks):
        if masks > 1:
            console.print(f"\nmask {mask + 1}")
        console.print(_side_by_side({label: found[mask] for label, found in fills.items()}))


def _plain(fills: Mapping[str, Sequence[Ranked]]) -> list[dict[str, object]]:
    return [
        {
            "model": label,
            "masks": [
                [{"rank": rank, "word": word, "probability": share} for rank, (word, share) in enumerate(ranked, 1)]
                for ranked in masks
            ],
        }
        for label, masks in fills.items()
    ]


def _side_by_side(fills: Mapping[str, Ranked]) -> Table:
    """Return one mask's words as a table: a row a rank, for each model the word, its probability and a bar."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("", justify="right", style="dim")
    for label in fills:
        table.add_column(escape(label), no_wrap=True)
    longest = max(share for ranked in fills.values() for _, share in ranked)
    width = max(len(word) for ranked in fills.values() for word, _ in ranked)
    for rank in range(max(map(len, fills.values()))):
        cells = [str(rank + 1)]
        for ranked in fills.values():
            if rank < len(ranked):
                word, share = ranked[rank]
                cells.append(f"{escape(word):<{width}} {share:.3f} [cyan]{format_bar(share / longest):<12}[/cyan]")
            else:
                cells.append("")
        table.add_row(*cells)
    return table

"""`winnow fill`: prints the most likely words for each mask in a sentence, with several models side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from winnow.commands.model_lookup import load_model, resolve_models
from winnow.commands.terminal_encoding import is_unicode_terminal
from winnow.config import FillConfig, construct
from winnow.errors import WinnowError
from winnow.formatting import format_bar
from winnow.tracking import Store

RankedWords = Sequence[tuple[str, float]]


def run_fill(text: str, config: FillConfig, console: Console, as_json: bool = False) -> None:
    """Predict the masked words of a sentence with every model, and print the ranked words as tables or as JSON.

    Raises:
        WinnowError: If the sentence has no mask or too many masks, or if a model cannot be loaded.
    """
    from winnow.evaluation import fill_masks
    from winnow.evaluation.mask_predictions import mask_count_error

    if error := mask_count_error(text):
        raise WinnowError(error, "text")
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    fills: dict[str, list[RankedWords]] = {}
    for position, model in enumerate(resolve_models(config.models, store)):
        loaded_model = load_model(model, position)
        fills[model.label] = [*fill_masks(text, loaded_model.model, loaded_model.tokenizer, config.top_k)]
    if as_json:
        print(
            json.dumps(
                {"text": text, "models": _to_json_records(fills)}, indent=2, ensure_ascii=not is_unicode_terminal()
            )
        )
        return
    console.print(escape(text), style="bold")
    masks = len(next(iter(fills.values())))
    for mask in range(masks):
        if masks > 1:
            console.print(f"\nmask {mask + 1}")
        console.print(_build_fill_table({label: rankings[mask] for label, rankings in fills.items()}))


def _to_json_records(fills: Mapping[str, Sequence[RankedWords]]) -> list[dict[str, object]]:
    return [
        {
            "model": label,
            "masks": [
                [
                    {"rank": rank, "word": word, "probability": probability}
                    for rank, (word, probability) in enumerate(ranking, 1)
                ]
                for ranking in rankings
            ],
        }
        for label, rankings in fills.items()
    ]


def _build_fill_table(fills: Mapping[str, RankedWords]) -> Table:
    """Build a table for one mask, with a row per rank and a column per model.

    Each table cell contains a word, the probability of the word and a bar.
    """
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("", justify="right", style="dim")
    for label in fills:
        table.add_column(escape(label), no_wrap=True)
    highest = max(probability for ranking in fills.values() for _, probability in ranking)
    width = max(len(word) for ranking in fills.values() for word, _ in ranking)
    for rank in range(max(map(len, fills.values()))):
        cells = [str(rank + 1)]
        for ranking in fills.values():
            if rank < len(ranking):
                word, probability = ranking[rank]
                cells.append(
                    f"{escape(word):<{width}} {probability:.3f} [cyan]{format_bar(probability / highest):<12}[/cyan]"
                )
            else:
                cells.append("")
        table.add_row(*cells)
    return table

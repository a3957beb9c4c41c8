"""`winnow fill`: prints the most likely words for each mask in a sentence, with several models side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from winnow.commands.fill_tables import build_fill_tables
from winnow.commands.model_lookup import load_model, resolve_models
from winnow.commands.terminal_encoding import is_unicode_terminal
from winnow.config import FillConfig, construct
from winnow.errors import WinnowError
from winnow.tracking import Store

if TYPE_CHECKING:
    from winnow.evaluation.fill_mask import MaskPrediction


def run_fill(text: str, config: FillConfig, console: Console, as_json: bool = False, with_logits: bool = False) -> None:
    """Predict the masked words of a sentence with every model, and print the ranked words as tables or as JSON.

    Args:
        text: The sentence.
        config: The models, the store, and the tokens to rank.
        console: The console to print the tables to.
        as_json: Whether to print JSON instead of tables.
        with_logits: Whether the JSON includes the logits of all tokens at each mask.

    Raises:
        WinnowError: If the sentence has no mask or too many masks, or if a model cannot be loaded.
    """
    from winnow.evaluation.fill_mask import predict_masks
    from winnow.evaluation.mask_predictions import mask_count_error

    if error := mask_count_error(text):
        raise WinnowError(error, "text")
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    predictions: dict[str, list[MaskPrediction]] = {}
    for position, model in enumerate(resolve_models(config.models, store)):
        loaded_model = load_model(model, position)
        predictions[model.label] = predict_masks(
            text, loaded_model.model, loaded_model.tokenizer, config.top_k, config.tokens
        )
    if as_json:
        content = {"text": text, "models": _to_json_records(predictions, with_logits)}
        print(json.dumps(content, indent=2, ensure_ascii=not is_unicode_terminal()))
        return
    console.print(escape(text), style="bold", soft_wrap=True)
    masks = len(next(iter(predictions.values())))
    for mask in range(masks):
        if masks > 1:
            console.print(f"\nmask {mask + 1}")
        rankings = {
            label: [(fill.word, fill.probability) for fill in predictions_of_model[mask].candidates]
            for label, predictions_of_model in predictions.items()
        }
        for i, table in enumerate(build_fill_tables(rankings, console.width)):
            if i > 0:
                console.print()
            console.print(table)


def _to_json_records(predictions: Mapping[str, Sequence[MaskPrediction]], with_logits: bool) -> list[dict[str, Any]]:
    """Return one record per model. `logits` holds one list per mask, in the order of the token ids."""
    return [
        {
            "model": label,
            "masks": [
                [
                    {
                        "rank": rank,
                        "word": fill.word,
                        "token": fill.token,
                        "probability": fill.probability,
                        "sequence": fill.sequence,
                    }
                    for rank, fill in enumerate(prediction.candidates, 1)
                ]
                for prediction in predictions_of_model
            ],
            **({"logits": [prediction.logits.tolist() for prediction in predictions_of_model]} if with_logits else {}),
        }
        for label, predictions_of_model in predictions.items()
    ]

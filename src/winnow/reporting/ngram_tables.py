"""Build tables, for files and for the terminal, that compare each arm with n-gram models of its training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from winnow.comparison.analysis import Comparison
from winnow.comparison.ngram_baselines import NgramBaselines
from winnow.formatting import format_interval, format_number
from winnow.reporting.table_rendering import Table, build_console_table, build_table

if TYPE_CHECKING:
    from rich.table import Table as ConsoleTable

PREDICTORS = ("model", "trigram", "unigram")


def build_ngram_table(comparison: Comparison) -> Table:
    """Return a table of the scores of each arm's trained and n-gram models; it is empty if there are no such scores."""
    rows = []
    for arm, baselines in comparison.ngram_baselines.items():
        losses = {f"{name}_loss": getattr(baselines, name).loss for name in PREDICTORS}
        scores = {f"{name}_score": getattr(baselines, name).score for name in PREDICTORS}
        rows.append({"arm": arm, **losses, **scores, "fill_overlap": baselines.fill_overlap})
    texts = [_format_row(arm, baselines) for arm, baselines in comparison.ngram_baselines.items()]
    columns: dict[str, list[str]] = {
        heading: [text[i] for text in texts] for i, heading in enumerate(_list_headings(comparison))
    }
    caption = "Test loss and primary metric of the trained models and of n-gram models of the same training rows."
    return build_table(rows, "ngram_baselines", caption, columns)


def build_beyond_ngrams_table(comparison: Comparison) -> Table:
    """Return a table of the effects that n-gram counts do not explain; it is empty if there are none."""
    effects = comparison.effects_beyond_counting
    rows = [
        {
            "ngram": effect.ngram,
            **{key: getattr(effect.result, key) for key in ("a", "b", "difference", "ci_low", "ci_high")},
        }
        for effect in effects
    ]
    columns: dict[str, list[str]] = {
        "contrast": [f"{effect.result.a} - {effect.result.b}" for effect in effects],
        "n-gram model": [str(effect.ngram) for effect in effects],
        "difference": [format_number(effect.result.difference) for effect in effects],
        "interval": [format_interval(effect.result.ci_low, effect.result.ci_high) for effect in effects],
    }
    caption = (
        f"Effects on {comparison.primary.label} that n-gram counts do not explain: the trained models' contrast minus "
        "the n-gram models' contrast."
    )
    return build_table(rows, "beyond_counting", caption, columns)


def build_ngram_console_table(comparison: Comparison) -> ConsoleTable | None:
    """Return a table of the test losses for the terminal, or ``None`` if no run has scores of n-gram models.

    The caption lists the effects that trigram counts do not explain.
    """
    if not comparison.ngram_baselines:
        return None
    title = "Test loss of the trained models and of n-gram models trained on the same rows"
    table = build_console_table("arm", *PREDICTORS, "shared top 10 words", title=title)
    for arm, baselines in comparison.ngram_baselines.items():
        losses = [format_number(getattr(baselines, name).loss) for name in PREDICTORS]
        table.add_row(escape(arm), *losses, format_number(baselines.fill_overlap))
    effects = [effect.result for effect in comparison.effects_beyond_counting if effect.ngram == "trigram"]
    lines = [
        f"{r.a} - {r.b}, {comparison.primary.label} not explained by trigram counts: "
        f"{format_number(r.difference)} "
        f"({format_interval(r.ci_low, r.ci_high)})"
        for r in effects
    ]
    table.caption = escape("\n".join(lines))
    table.caption_justify = "left"
    return table


def _list_headings(comparison: Comparison) -> list[str]:
    label = comparison.primary.label
    return [
        "arm",
        *("test loss" if name == "model" else f"{name} loss" for name in PREDICTORS),
        *(label if name == "model" else f"{name} {label}" for name in PREDICTORS),
        "shared top 10",
    ]


def _format_row(arm: str, baselines: NgramBaselines) -> list[str]:
    predictors = [getattr(baselines, name) for name in PREDICTORS]
    numbers = [*(scores.loss for scores in predictors), *(scores.score for scores in predictors)]
    return [arm, *map(format_number, numbers), format_number(baselines.fill_overlap)]

"""`winnow compare FILE`: compares arms by scores that were computed elsewhere, with the statistics of a study."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from winnow.comparison.contrast_statistics import Contrast, Summary, contrast, holm, summarize
from winnow.comparison.resampling import bootstrap_interval, permutation_p
from winnow.errors import WinnowError, did_you_mean
from winnow.formatting import format_interval, format_number, format_p_cell
from winnow.reporting.table_rendering import build_console_table

if TYPE_CHECKING:
    import pandas as pd

REQUIRED_COLUMNS: Final = ("arm", "seed", "item", "score")
OPTIONAL_COLUMNS: Final = ("cluster", "weight")
DEFAULT_BASELINE: Final = "full"
MIN_SEEDS: Final = 5
SIGNIFICANCE_LEVEL: Final = 0.05


@dataclass(frozen=True)
class ScoreContrast:
    """The contrast between an arm and the baseline.

    Attributes:
        result: The estimate, with its interval and test.
        p_holm: The p-value, Holm-corrected over all contrasts.
        bootstrap: The bootstrap interval of the difference.
        permutation_p: The p-value of the permutation test.
    """

    result: Contrast
    p_holm: float
    bootstrap: tuple[float, float]
    permutation_p: float


def run_compare_scores(scores: pd.DataFrame, title: str, baseline: str | None, as_json: bool, console: Console) -> None:
    """Compare every arm with the baseline, and print the result as a table or as JSON.

    Args:
        scores: The result of :func:`read_scores` or of :func:`winnow.commands.sample_files.read_samples`.
        title: The name of the scores.
        baseline: The baseline; `None` selects `full`, or the first arm if there is no such arm.
        as_json: Whether to print JSON.
        console: The console to print to.

    Raises:
        WinnowError: If the baseline is missing, or if there are fewer than two arms.
    """
    arms = list(dict.fromkeys(scores["arm"]))
    baseline = baseline or (DEFAULT_BASELINE if DEFAULT_BASELINE in arms else arms[0])
    if baseline not in arms:
        raise WinnowError(
            f"the scores have no arm '{baseline}'.{did_you_mean(baseline, arms)} Allowed: {', '.join(arms)}.",
            "--baseline",
        )
    if len(arms) < 2:
        raise WinnowError(f"expected at least two arms, got only {arms[0]!r}. Add the scores of another arm.", "arm")
    contrasts = compare_with_baseline(scores, baseline)
    summaries = {arm: summarize(list(scores[scores["arm"] == arm].groupby("seed")["score"].mean())) for arm in arms}
    if as_json:
        print(json.dumps(_to_json(baseline, summaries, contrasts), indent=2))
    else:
        _print_comparison(console, title, scores, summaries, contrasts)


def read_scores(file: Path) -> pd.DataFrame:
    """Return the scores of a CSV file, with the column names that the statistics use.

    Raises:
        WinnowError: If the file is not a CSV file, or if a column is missing or has invalid values.
    """
    import pandas as pd

    try:
        table = pd.read_csv(file, dtype=str, encoding="utf-8-sig", keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas raises subclasses of ValueError for damaged files
        raise WinnowError(f"{file} cannot be read as CSV ({error}). Choose another file.", "scores") from error
    missing = [name for name in REQUIRED_COLUMNS if name not in table.columns]
    if missing:
        raise WinnowError(
            f"{file} has no column {', '.join(missing)}. Required: {', '.join(REQUIRED_COLUMNS)}. Optional: "
            f"{', '.join(OPTIONAL_COLUMNS)}. Rename or add columns.",
            "scores",
        )
    if table.empty:
        raise WinnowError(f"{file} has no rows. Add one row per arm, seed and item.", "scores")
    table = table.rename(columns={"cluster": "cluster:cluster"})
    for name in ("score", "weight"):
        if name in table.columns:
            numbers = pd.to_numeric(table[name].replace("", "nan"), errors="coerce")
            invalid = numbers.isna() & ~table[name].str.lower().isin(["", "nan"])
            if invalid.any():
                row = int(invalid.to_numpy().argmax())
                raise WinnowError(
                    f"expected a number in line {row + 2}, got {table[name][row]!r:.60}. Correct it.", name
                )
            table[name] = numbers
    return table


def compare_with_baseline(scores: pd.DataFrame, baseline: str) -> list[ScoreContrast]:
    """Return the contrast between each other arm and the baseline. Arms with the same seeds are compared as pairs."""
    seeds = {arm: set(group["seed"]) for arm, group in scores.groupby("arm")}
    pairs = [(arm, baseline) for arm in dict.fromkeys(scores["arm"]) if arm != baseline]
    blocked = {arm: seeds[arm] == seeds[baseline] for arm, _ in pairs}
    results = [contrast(scores, a, b, blocked=blocked[a]) for a, b in pairs]
    return [
        ScoreContrast(
            result,
            p_holm,
            bootstrap_interval(scores, result.a, result.b, blocked=result.blocked),
            permutation_p(scores, result.a, result.b, blocked=result.blocked),
        )
        for result, p_holm in zip(results, holm([result.p_value for result in results]), strict=True)
    ]


def describe_contrast(entry: ScoreContrast) -> str:
    """Return a sentence with the difference between an arm and the baseline."""
    result = entry.result
    interval = format_interval(result.ci_low, result.ci_high)
    if entry.p_holm <= SIGNIFICANCE_LEVEL:
        direction = "higher" if result.difference > 0 else "lower"
        size = format_number(abs(result.difference))
        return f"{result.a} scores {size} {direction} than {result.b} (95% interval of the difference {interval})."
    return (
        f"{result.a} does not clearly differ from {result.b} (95% interval of the difference {interval}). This does "
        "not show that the two are equivalent."
    )


def _print_comparison(
    console: Console,
    title: str,
    scores: pd.DataFrame,
    summaries: dict[str, Summary],
    contrasts: Sequence[ScoreContrast],
) -> None:
    cluster = "cluster:cluster"
    clusters = f" in {scores[cluster].nunique():,} clusters" if cluster in scores.columns else ""
    console.print(f"[bold]{escape(title)}[/bold]: {scores['item'].nunique():,} items{clusters}", soft_wrap=True)
    arms = build_console_table("arm", "seeds", "mean", "std")
    for arm, summary in summaries.items():
        arms.add_row(escape(arm), str(summary.n), format_number(summary.mean), format_number(summary.std))
    console.print(arms)
    console.print()
    console.print(_build_contrast_table(contrasts))
    console.print()
    console.print(_build_check_table(contrasts))
    console.print()
    for entry in contrasts:
        console.print(escape(describe_contrast(entry)), soft_wrap=True)
    for note in _list_notes(contrasts):
        console.print(f"[yellow]note[/yellow]  {escape(note)}", soft_wrap=True)


def _build_contrast_table(contrasts: Sequence[ScoreContrast]) -> Table:
    table = _build_narrow_table("contrast", "difference", "95% interval", "p", "Holm p")
    for entry in contrasts:
        result = entry.result
        table.add_row(
            escape(f"{result.a} - {result.b}"),
            format_number(result.difference),
            format_interval(result.ci_low, result.ci_high),
            *(format_p_cell(p) for p in (result.p_value, entry.p_holm)),
        )
    return table


def _build_check_table(contrasts: Sequence[ScoreContrast]) -> Table:
    table = _build_narrow_table("sensitivity checks", "bootstrap interval", "permutation p")
    for entry in contrasts:
        name = escape(f"{entry.result.a} - {entry.result.b}")
        table.add_row(name, format_interval(*entry.bootstrap), format_p_cell(entry.permutation_p))
    return table


def _build_narrow_table(first: str, *headings: str) -> Table:
    """Return an empty table that fits on a terminal with 80 columns; only the first column is wrapped."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column(first, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _list_notes(contrasts: Sequence[ScoreContrast]) -> list[str]:
    """Return the limitations of the contrasts, without repetitions."""
    notes = []
    for result in (entry.result for entry in contrasts):
        name = f"{result.a} - {result.b}"
        notes.append(f"{name}: runs with the same seed are {'compared as pairs' if result.blocked else 'independent'}.")
        if min(result.n_a, result.n_b) < MIN_SEEDS:
            notes.append(f"{name}: fewer than {MIN_SEEDS} seeds per arm, so the interval is imprecise. Add seeds.")
        if result.items_left_out:
            notes.append(f"{name}: {result.items_left_out:,} items are excluded because most seeds have no score.")
        if result.missing:
            notes.append(f"{name}: {result.missing:,} missing scores are imputed.")
        notes += [f"{name}: seed excluded: {text}." for text in result.seeds_left_out]
        if result.assumed_independent:
            notes.append(f"{name}: the scores have no clusters, so the items are treated as independent.")
    return notes


def _to_json(baseline: str, summaries: dict[str, Summary], contrasts: Sequence[ScoreContrast]) -> dict[str, Any]:
    return {
        "baseline": baseline,
        "arms": {arm: dataclasses.asdict(summary) for arm, summary in summaries.items()},
        "contrasts": [
            {
                **dataclasses.asdict(entry.result),
                "p_holm": entry.p_holm,
                "bootstrap": entry.bootstrap,
                "permutation_p": entry.permutation_p,
            }
            for entry in contrasts
        ],
    }

"""Present the plan of a study as tables, a figure and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.comparison.comparison_json import to_json_value
from winnow.comparison.pilot_plan import MIN_SEEDS, PilotPlan, PlannedPower
from winnow.comparison.study_size_plan import EndpointPlan, StudySizePlan
from winnow.formatting import MISSING_VALUE, format_duration, format_number
from winnow.reporting.figure_rendering import Figure, Panel, render_figure, set_heading
from winnow.reporting.plot_style import GRAY, ROLE_STYLES
from winnow.reporting.table_rendering import Table, build_table

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

Rows = list[dict[str, Any]]


def build_plan_tables(plan: StudySizePlan) -> list[Table]:
    """Return the table of the recommended size for every endpoint, and the table of power by the number of seeds."""
    tables = [_build_sizes(plan), _build_curve(plan)]
    return [*tables, _build_looks(plan)] if plan.looks else tables


def _build_sizes(plan: StudySizePlan) -> Table:
    rows: Rows = []
    for entry in plan.endpoints:
        recommended = entry.plan.recommended
        exact = entry.plan.seeds_if_exact
        rows.append(
            {
                "endpoint": entry.endpoint,
                "difference": entry.plan.difference,
                "seeds if exact": None if exact is None else max(exact, MIN_SEEDS),
                "seeds per arm": recommended.seeds if recommended else None,
                **{f"{name} levels": count for name, count in _list_levels(entry.plan, recommended).items()},
                "items": entry.plan.count_items(recommended.levels) if recommended else None,
                "power": recommended.power if recommended else None,
                "power, lower": recommended.low if recommended else None,
                "power, upper": recommended.high if recommended else None,
                "smallest difference": recommended.smallest_difference if recommended else None,
                "hours": plan.compute_hours(recommended.seeds) if recommended else None,
            }
        )
    display = {
        "endpoint": [entry.endpoint for entry in plan.endpoints],
        "difference": [format_number(row["difference"]) for row in rows],
        "seeds per arm": [_format_count(row["seeds per arm"]) for row in rows],
        "if the pilot is exact": [_format_count(row["seeds if exact"]) for row in rows],
        "levels": [_describe_levels(entry.plan, entry.plan.recommended) for entry in plan.endpoints],
        "prompts or rows": [_format_count(row["items"]) for row in rows],
        "power": [_format_power(entry.plan.recommended) for entry in plan.endpoints],
        "smallest difference": [format_number(row["smallest difference"]) for row in rows],
        "time": [format_duration(None if row["hours"] is None else 3600 * row["hours"]) for row in rows],
    }
    caption = (
        "The smallest study that reaches the target power. The interval of the power covers 70% of the variances that "
        "are plausible given the pilot."
    )
    return build_table(rows, "plan", caption, display)


def _build_curve(plan: StudySizePlan) -> Table:
    """Return the table of the power of every endpoint by the number of seeds."""
    points = {entry.endpoint: entry.plan.curve for entry in plan.endpoints}
    target = points["target"]
    rows: Rows = []
    for index, point in enumerate(target):
        row: dict[str, Any] = {"seeds per arm": point.seeds}
        for endpoint, curve in points.items():
            row |= {
                f"{endpoint}, power": curve[index].power,
                f"{endpoint}, lower": curve[index].low,
                f"{endpoint}, upper": curve[index].high,
            }
        rows.append(row | {"smallest difference": point.smallest_difference, "hours": plan.compute_hours(point.seeds)})
    display = {
        "seeds per arm": [str(point.seeds) for point in target],
        **{f"power, {endpoint}": [_format_power(point) for point in curve] for endpoint, curve in points.items()},
        "smallest difference": [format_number(point.smallest_difference) for point in target],
        "time": [format_duration(3600 * row["hours"]) for row in rows],
    }
    caption = "Power by the number of seeds, with the prompts and rows of the pilot."
    return build_table(rows, "plan_curve", caption, display)


def _build_looks(plan: StudySizePlan) -> Table:
    looks = plan.looks
    assert looks is not None
    rows: Rows = [
        {"seeds per arm": seeds, "level": level, "probability of stopping": stopped, "hours": plan.compute_hours(seeds)}
        for seeds, level, stopped in zip(looks.seeds, looks.levels, looks.stopped, strict=True)
    ]
    display = {
        "look at": [f"{row['seeds per arm']} seeds" for row in rows],
        "level": [format_number(row["level"]) for row in rows],
        "ends here": [f"{row['probability of stopping']:.0%}" for row in rows],
        "time": [format_duration(3600 * row["hours"]) for row in rows],
    }
    return build_table(rows, "plan_looks", "Interim looks at the target endpoint.", display)


def describe_plan(plan: StudySizePlan) -> list[str]:
    """Return the plan as sentences."""
    target = plan.endpoints[0]
    sentences = [
        f"Plan for {plan.filter} - {plan.baseline}, from {target.plan.pilot_seeds} seeds per arm of {plan.study}. "
        f"Difference in {target.metric}: {format_number(target.plan.difference)} ({target.source})."
    ]
    if plan.seeds is not None:
        arms = len(plan.seconds)
        sentences.append(
            f"{plan.seeds} seeds per arm ({arms * plan.seeds} runs with {arms} arms, "
            f"{format_duration(3600 * plan.compute_hours(plan.seeds))}) are enough for all endpoints."
        )
    if looks := plan.looks:
        sentences.append(
            f"With looks after {', '.join(map(str, looks.seeds))} seeds, the study needs {looks.expected_seeds:.1f} "
            f"seeds per arm on average ({format_duration(3600 * plan.compute_hours(looks.expected_seeds))}) and has a "
            f"power of {looks.power:.2f}. Without a true difference, it needs "
            f"{looks.expected_seeds_without_effect:.1f} seeds."
        )
    return [*sentences, *plan.notes]


def draw_plan(plan: StudySizePlan, folder: Path | None = None) -> Figure | None:
    """Draw the power of every endpoint by the number of seeds."""
    panels = [_build_power_panel(entry) for entry in plan.endpoints]
    caption = (
        "Power by the number of seeds per arm. The band covers 70% of the variances that are plausible given the "
        "pilot. The dashed line is the target power, and the marker is the recommended study."
    )
    return render_figure("plan", caption, panels, folder)


def _build_power_panel(entry: EndpointPlan) -> Panel:
    plan, style = entry.plan, ROLE_STYLES["filter"]
    title = f"{entry.endpoint}: difference of {format_number(plan.difference)} in {entry.metric}"

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        seeds = [point.seeds for point in plan.curve]
        axes.fill_between(
            seeds, [p.low for p in plan.curve], [p.high for p in plan.curve], color=style.color, alpha=0.2
        )
        axes.plot(seeds, [p.power for p in plan.curve], color=style.color)
        axes.axhline(plan.target_power, color=GRAY, lw=1.1, ls=(0, (4, 3)))
        if plan.recommended is not None:
            axes.plot([plan.recommended.seeds], [plan.recommended.power], style.marker, color=style.color)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("seeds per arm")
        axes.set_ylabel("power")
        set_heading(figure, title, lines=2)

    return Panel(title, draw)


def write_plan(plan: StudySizePlan, folder: Path, tables: Sequence[Table]) -> Path:
    """Write ``plan.json``, the tables and the figure into a folder, and return the path of the figure's PNG file."""
    folder.mkdir(parents=True, exist_ok=True)
    content = to_json_value(asdict(plan) | {"seeds": plan.seeds})
    (folder / "plan.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for table in tables:
        table.save(folder)
    figure = draw_plan(plan, folder)
    assert figure is not None
    return figure.files[-1]


def _list_levels(plan: PilotPlan, point: PlannedPower | None) -> dict[str, int]:
    return dict(point.levels if point else plan.levels)


def _describe_levels(plan: PilotPlan, point: PlannedPower | None) -> str:
    """Return the numbers of levels, such as ``36 template (24 now), 14 product``."""
    levels = _list_levels(plan, point)
    texts = [
        f"{count} {name}" + (f" ({plan.levels[name]} now)" if count != plan.levels[name] else "")
        for name, count in levels.items()
    ]
    return ", ".join(texts) or MISSING_VALUE


def _format_count(value: int | None) -> str:
    return MISSING_VALUE if value is None else f"{value:,}"


def _format_power(point: PlannedPower | None) -> str:
    return MISSING_VALUE if point is None else f"{point.power:.2f} ({point.low:.2f} to {point.high:.2f})"

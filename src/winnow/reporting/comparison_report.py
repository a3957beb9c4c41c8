"""Compare the arms of a study and write the report: JSON for programs, a page, Markdown, tables and figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from winnow.comparison.analysis import Comparison, analyze
from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.collection import collect_study
from winnow.comparison.fill_tables import BASE, Fills, fills_by_prompt, mean_prompt_scores, select_example_prompts
from winnow.comparison.publishing import publish as publish_comparison
from winnow.errors import WinnowError
from winnow.formatting import listed, number
from winnow.reporting.comparison_figures import draw_comparison_figures
from winnow.reporting.comparison_tables import tables
from winnow.reporting.figures import Figure
from winnow.reporting.page import render_page
from winnow.reporting.style import MARKS, styles
from winnow.tracking.store import Store


def compare(
    store_uri: str,
    study: str | Sequence[str],
    output: Path,
    metrics: Sequence[str] = (),
    ui_url: str = "http://127.0.0.1:5000",
    publish: bool = True,
    unsent: str | None = None,
) -> Comparison:
    """Compare the arms of a study, write the report and store it with the study's runs.

    Writes ``comparison.json``, ``report.html``, ``report.md``, ``tables/`` (CSV, Markdown and LaTeX) and ``figures/``
    (SVG and PNG) into ``output``, and logs all of it to MLflow as a run of its own.

    Args:
        store_uri: MLflow tracking URI of the store, as ``sqlite:///outputs/mlflow.db``.
        study: Name of the study, which is its MLflow experiment's; or of several, the first of which declares what is
            compared.
        output: Folder to write into; created if missing.
        metrics: Metrics that were not declared, to be described too and marked as post hoc.
        ui_url: Address of MLflow's pages, for the report's links to runs.
        publish: Whether to store the comparison.
        unsent: Folder for what the store does not take; by default ``unsent`` beside ``output``.

    Raises:
        WinnowError: The study is unknown, or has no finished run (key ``study``); the store does not exist
            (``tracking.uri``); the folder cannot be written (``output_dir``).
    """
    collected = collect_study(store_uri, *([study] if isinstance(study, str) else study))
    comparison = analyze(collected, extra_metrics=metrics)
    write_comparison_report(comparison, collected, output, ui_url)
    if publish:
        store = Store(uri=store_uri, artifacts=".", unsent=unsent or str(output.parent / "unsent"))
        publish_comparison(comparison, collected, store, output)
    return comparison


def write_comparison_report(
    comparison: Comparison, study: CollectedStudy, output: Path, ui_url: str = "http://127.0.0.1:5000"
) -> list[Path]:
    """Write ``comparison.json``, ``report.html``, ``report.md``, ``tables/`` and ``figures/``; return the files.

    Args:
        comparison: The comparison.
        study: What it was made of.
        output: Folder to write into; created if missing.
        ui_url: Address of MLflow's pages, for links to runs.

    Raises:
        WinnowError: The folder cannot be written (key ``output_dir``).
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        fills = fills_by_prompt(study)
        figures = draw_comparison_figures(comparison, study, output / "figures", fills)
        facts = _facts(comparison, study, figures, fills, ui_url.rstrip("/"))
        numbers = json.dumps(comparison.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        texts = {"comparison.json": numbers + "\n"}
        texts |= {f"report.{ending}": render_page(f"comparison.{ending}", facts) for ending in ("html", "md")}
        for name, text in texts.items():
            (output / name).write_text(text, encoding="utf-8")
        written = [file for table in tables(comparison) for file in table.save(output / "tables")]
    except OSError as error:
        why = error.strerror or str(error)
        raise WinnowError(
            f"The report cannot be written to {output}: {why}. Choose a writable folder.", key="output_dir"
        ) from error
    written += [file for figure in figures.values() for file in figure.files]
    return [*(output / name for name in texts), *written]


def _facts(
    comparison: Comparison,
    study: CollectedStudy,
    figures: dict[str, Figure],
    fills: dict[str, dict[str, Fills]],
    ui_url: str,
) -> dict[str, Any]:
    """Return what the templates tell; every choice of content is made here, only the layout is theirs."""
    declared = study.declaration
    primary = comparison.primary
    look = styles({name: arm.role for name, arm in comparison.arms.items()})
    versions = {
        declared.baseline: "v1",
        declared.filter: "v2",
        declared.control: "random control",
        BASE: "before training",
    }
    marks = {name: {"sign": MARKS[style.marker], "color": style.color} for name, style in look.items()}
    dropped = _dropped(study)
    named = {finding.metric for finding in comparison.findings} | {one["metric"] for one in comparison.not_comparable}
    return {
        "c": comparison,
        "declared": declared,
        "primary": primary,
        "labels": {name: comparison.metric(name).label for name in named},
        "items": {"prompts": "prompts", "rows": "rows"}.get(primary.item_kind, "items"),
        "marks": marks,
        "versions": versions,
        "families": {
            family: [f for f in comparison.findings if f.family == family]
            for family in ("primary", "secondary", "descriptive")
        },
        "compared": [entry for entry in comparison.slices if entry.change],
        "worse": [entry for entry in comparison.slices if entry.worse],
        "prompts": {prompt: _side_by_side(by_arm) for prompt, by_arm in select_example_prompts(fills).items()},
        "said": _said(study, fills, marks, versions) if fills else None,
        "filter": study.filter_summaries.get(declared.filter or ""),
        "dropped": dropped,
        "reasons": sorted({reason for row in dropped for reason in row["reasons"]}),
        "links": {c.run_id: f"{ui_url}/#/experiments/{c.experiment_id}/runs/{c.run_id}" for c in study.cells},
        "ui_url": ui_url,
        "figures": figures,
        "methods": _methods(comparison),
        "version": comparison.as_dict()["winnow_version"],
    }


def _side_by_side(by_arm: Fills) -> dict[str, Any]:
    """Return the fills of each arm as a table, one row a rank."""
    return {"arms": list(by_arm), "rows": list(zip_longest(*by_arm.values()))}


def _said(
    study: CollectedStudy,
    fills: dict[str, dict[str, Fills]],
    marks: dict[str, dict[str, str]],
    versions: dict[Any, str],
) -> dict[str, Any]:
    """Return what the page's script shows of a prompt: each arm's fills, and its score where the prompt has one."""
    scores = mean_prompt_scores(study)
    return {
        "baseline": study.declaration.baseline,
        "arms": {
            arm: {
                "sign": marks[arm]["sign"] if arm in marks else "",
                "tint": f"var(--c{marks[arm]['color'][1:].lower()})" if arm in marks else "var(--soft)",
                "told": versions.get(arm, ""),
            }
            for arm in (BASE, *study.arms)
        },
        "probes": {
            probe: [
                {
                    "prompt": prompt,
                    "arms": {arm: [(word, round(share, 5)) for word, share in words] for arm, words in by_arm.items()},
                    "scores": {
                        arm: f"log odds {number(score)}" for arm, score in scores.get((probe, prompt), {}).items()
                    },
                }
                for prompt, by_arm in prompts.items()
            ]
            for probe, prompts in fills.items()
        },
    }


def _methods(comparison: Comparison) -> str:
    """Return the methods paragraph, with the numbers of this study in it."""
    primary = [finding.result for finding in comparison.findings if finding.family == "primary"]
    seeds = listed([f"{arm.n} ({name})" for name, arm in comparison.arms.items()])
    items = {"prompts": "prompts", "rows": "held-out rows"}.get(comparison.primary.item_kind, "summaries")
    scored = f"and scored on {primary[0].items} {items}" if primary else f"and scored on {items}"
    freedom = f" (here {listed([f'{result.df:.1f}' for result in primary])})" if primary else ""
    return (
        f"Each arm was trained over its own seeds, {seeds}, {scored}. Seeds are nested in arms and {items} crossed "
        "with them; both count as drawn from many, so that a claim reaches beyond those used here. The variance of a "
        "difference of means is put together from the variance between the seeds of each arm and the variance of the "
        "difference over items, less the seed-by-item residual, which both contain. The difference over its standard "
        f"error is referred to Student's t with Satterthwaite's degrees of freedom{freedom}; interval and p come from "
        "this one procedure. The primary contrasts were adjusted by Holm's method, the declared secondary contrasts by "
        "a Holm of their own. Losses are token means under masks that are the same for every run; perplexity is their "
        "exponential, its spread by the delta method. A crossed bootstrap and a permutation of seed means stand beside "
        "as sensitivity checks. The last checkpoint of each run was compared; the base model is shown but not tested."
    )


def _dropped(study: CollectedStudy, most: int = 40) -> list[dict[str, Any]]:
    """Return examples of dropped rows: each a text, the terms it failed, and what else is said of it."""
    examples = (study.filter_summaries.get(study.declaration.filter or "") or {}).get("dropped") or []
    found: list[dict[str, Any]] = []
    for example in examples[:most]:
        if not isinstance(example, dict):
            found.append({"text": str(example), "reasons": [], "more": ""})
            continue
        more = [
            f"{key} {listed([str(entry) for entry in value]) if isinstance(value, list) else value}"
            for key, value in example.items()
            if key not in ("text", "row_id") and value not in (None, "", [])
        ]
        reasons = [str(reason) for reason in example.get("failed") or []]
        found.append({"text": str(example.get("text", "")), "reasons": reasons, "more": ", ".join(more)})
    return found

"""Tests of the figures of evaluated models, drawn from plain tables."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from winnow.reporting.bar_charts import draw_best_and_worst, draw_top_fills
from winnow.reporting.figure_rendering import Figure
from winnow.reporting.model_figures import (
    MAX_HEAT_MAP_ROWS,
    draw_heat_map,
    draw_structure,
)
from winnow.reporting.plot_style import MARKER_CHARACTERS, OTHER_STYLE, ROLE_STYLES, assign_styles
from winnow.reporting.print_figures import convert_to_gray, save_print_figures
from winnow.reporting.probability_shifts import compute_word_shifts, draw_word_shift
from winnow.reporting.training_curves import build_step_panels, draw_losses, draw_scores_over_steps, draw_tracked_words

STYLES = assign_styles({"v1": "baseline", "v2": "filter"})


def test_no_two_arms_share_a_color_a_marker_or_a_line() -> None:
    roles = {"full": "baseline", "mild": "filter", "random": "control"} | {f"arm {i}": "other" for i in range(9)}
    styles = list(assign_styles(roles).values())
    for field in ("color", "marker", "line"):
        assert len({getattr(style, field) for style in styles}) == 12, field
    assert all(style.marker in MARKER_CHARACTERS for style in styles)
    lightness = sorted(int(convert_to_gray(style.color)[1:3], 16) for style in styles)
    assert min(high - low for low, high in pairwise(lightness)) >= 6, "distinct in grayscale"


def test_the_most_important_arms_are_highlighted_if_there_are_too_many() -> None:
    roles = {"full": "baseline"} | {f"arm {i}": "other" for i in range(14)} | {"mild": "filter"}
    styles = assign_styles(roles, priority=["arm 13", "mild", "arm 12", "unknown"])
    assert list(styles) == list(roles)
    assert styles["full"] == ROLE_STYLES["baseline"]
    assert styles["mild"] == ROLE_STYLES["filter"]
    others = [arm for arm, style in styles.items() if style == OTHER_STYLE]
    assert others == [f"arm {i}" for i in range(7, 12)]
    curves = [(arm, 1, step, float(i)) for i, arm in enumerate(roles) for step in (1, 2)]
    table = pd.DataFrame(curves, columns=["arm", "seed", "step", "value"])
    (panel,) = build_step_panels("loss", table, styles)
    (svg,) = Figure("curves", "", [panel], []).inline_svgs
    legend = re.findall(r"<(?:text|tspan)[^>]*>([^<]+)<", svg)
    assert "other arms (5)" in legend
    assert "arm 13" in legend
    assert "arm 7" not in legend


def text_of(figure: Figure | None) -> str:
    """Return the text elements of a figure's SVG file, one per line."""
    assert figure is not None
    assert [file.suffix for file in figure.files] == [".svg", ".png"]
    assert figure.files[1].stat().st_size > 5000
    return "\n".join(re.findall(r"<(?:text|tspan)[^>]*>([^<]+)<", figure.files[0].read_text("utf-8")))


@pytest.fixture
def fills() -> dict[str, dict[str, list[tuple[str, float]]]]:
    def ranked(first: str) -> list[tuple[str, float]]:
        return [(first, 0.3), *((f"word{i}", 0.2 / (i + 1)) for i in range(99))]

    return {"Nike shoes are [MASK]": {"v1": ranked("expensive"), "v2": ranked("durable")}}


def test_top_fills_show_each_model_with_its_words(fills: Any, tmp_path: Path) -> None:
    text = text_of(draw_top_fills(fills, STYLES, tmp_path))
    assert {"Nike shoes are [MASK]", "v1", "v2", "expensive", "durable", "word8"} <= set(text.splitlines())
    assert "word9" not in text.splitlines()


def test_best_and_worst_show_both_ends_of_the_ranking(fills: Any, tmp_path: Path) -> None:
    text = text_of(draw_best_and_worst(fills, STYLES, tmp_path))
    for label in ("v1: highest", "v1: lowest", "v2: lowest", "expensive", "word98", "word89"):
        assert label in text
    assert "word50" not in text


def test_words_that_rose_and_fell_most(tmp_path: Path) -> None:
    before = {"expensive": 0.3, "durable": 0.1, "the": 0.2, "only_v1": 0.9}
    after = {"expensive": 0.01, "durable": 0.4, "the": 0.2, "only_v2": 0.9}
    shifts = compute_word_shifts(before, after)
    assert [(row["word"], round(row["change"], 2)) for row in shifts] == [("durable", 0.3), ("expensive", -0.29)]
    text = text_of(draw_word_shift(shifts, ("v1", "v2"), STYLES, tmp_path))
    assert "durable" in text
    assert "10%" in text
    assert "mathdefault" not in text
    assert draw_word_shift([], ("v1", "v2"), STYLES, tmp_path) is None
    roles = {"durable": "wanted", "expensive": "unwanted"}
    text = text_of(
        draw_word_shift(compute_word_shifts(before, after | {"expensive": 0}), ("v1", "v2"), STYLES, tmp_path, roles)
    )
    assert {"✓ durable", "✗ expensive", "0%"} <= set(text.splitlines())


@pytest.fixture
def curves() -> pd.DataFrame:
    rows = []
    for arm in ("v1", "v2"):
        for seed in (1, 2):
            for step in (0, 100, 200):
                where = {"arm": arm, "seed": seed, "step": step, "probe": "wide"}
                rows.append(where | {"metric": "log_odds", "value": step / 100 + seed})
                rows.append(
                    where
                    | {"metric": "probability", "role": "unwanted", "word": "expensive", "value": 0.1 / (1 + step)}
                )
                rows.append(
                    where | {"metric": "probability", "role": "wanted", "word": "durable", "value": 0.001 * (1 + step)}
                )
    return pd.DataFrame(rows)


def test_scores_and_followed_words_over_steps(curves: pd.DataFrame, tmp_path: Path) -> None:
    assert "log odds, wide" in text_of(draw_scores_over_steps(curves, STYLES, tmp_path))
    text = text_of(draw_tracked_words(curves, "wide", STYLES, tmp_path))
    assert "expensive (unwanted), wide" in text
    assert "durable (wanted), wide" in text
    only = text_of(draw_tracked_words(curves, "wide", STYLES, tmp_path, words=["durable"]))
    assert "expensive" not in only
    assert draw_tracked_words(curves[curves["step"] == 0], "wide", STYLES, tmp_path) is None
    assert draw_scores_over_steps(curves, STYLES, tmp_path, "nothing") is None


def test_losses_share_one_axis_for_all_models(tmp_path: Path) -> None:
    metrics = ("train/loss", "validation/loss")
    rows = [(arm, 0, metric, step, 5 - step / 100) for arm in STYLES for metric in metrics for step in (100, 200)]
    text = text_of(
        draw_losses(pd.DataFrame(rows, columns=["arm", "seed", "metric", "step", "value"]), STYLES, tmp_path)
    )
    for label in ("v1, training", "v2, validation", "perplexity"):
        assert label in text


def test_a_heat_map_shows_the_prompts_on_which_models_differ_most(tmp_path: Path) -> None:
    scores = {f"prompt {i:02d}": {"v1": 0.0, "v2": i / 10} for i in range(MAX_HEAT_MAP_ROWS + 10)}
    figure = draw_heat_map(scores, ["v1", "v2"], "wide", tmp_path)
    text = text_of(figure)
    assert "prompt 49" in text
    assert "prompt 09" not in text
    assert figure is not None
    assert "of 50 prompts" in figure.caption
    assert draw_heat_map({"a": {"v1": 0.0}}, ["v1", "v2"], "wide", tmp_path) is None


def test_structure_shows_parameters_and_shapes(tmp_path: Path) -> None:
    parts = [
        {"part": "embeddings", "kind": "embeddings", "repeats": 1, "parameters": 600, "shapes": "60 tokens x 10"},
        {"part": "transformer layer", "kind": "layer", "repeats": 6, "parameters": 400, "shapes": "2 heads of 5"},
    ]
    text = text_of(draw_structure("v1", parts, tmp_path))
    assert "v1: 1,000 parameters" in text
    assert "transformer layer x 6: 400 parameters (40%)" in text


def test_print_figures_fit_a_column_with_small_text_and_have_a_gray_version(fills: Any, tmp_path: Path) -> None:
    figure = draw_top_fills(fills, STYLES, None)
    assert figure is not None
    files = save_print_figures([figure], tmp_path)
    assert [file.name for file in files] == [
        "top_fills.svg",
        "top_fills.png",
        "top_fills_gray.svg",
        "top_fills_gray.png",
    ]
    svg, gray_svg = (tmp_path / f"top_fills{ending}.svg" for ending in ("", "_gray"))
    assert 'width="237.6pt"' in svg.read_text("utf-8")
    sizes = {float(size) for size in re.findall(r"font(?:-size)?:[^;\"]*?([\d.]+)px", svg.read_text("utf-8"))}
    assert sizes
    assert all(7 <= size <= 8 for size in sizes)
    assert "#0072b2" in svg.read_text("utf-8")
    assert all(
        color[1:3] == color[3:5] == color[5:7] for color in re.findall(r"#[0-9a-f]{6}", gray_svg.read_text("utf-8"))
    )
    with Image.open(tmp_path / "top_fills_gray.png") as image:
        assert (image.mode, image.width, round(image.info["dpi"][0])) == ("L", 990, 300)

"""The complete table of verdicts in docs/comparison.md: one row per target, specificity and cost.

Run this file to write the table after a change of the wording.
"""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import pytest

from winnow.comparison.endpoints import CostEndpoint, Endpoints, SpecificityEndpoint, TargetEndpoint
from winnow.comparison.verdict import COST_OUTCOMES, SPECIFICITY_OUTCOMES, TARGET_OUTCOMES, Verdict, decide_verdict
from winnow.metrics import Metric

DOCUMENT = Path(__file__).parents[2] / "docs" / "comparison.md"
MARKERS = ("<!-- verdict table -->", "<!-- end of verdict table -->")
PERPLEXITIES = {"within margin": 6.4, "worse": 15.0, "unclear": 6.6}
Row = tuple[str, str, str, str, str, str]


def decide(target: str, specificity: str, cost: str, **fields: object) -> Verdict:
    sign = {"better": 1.0, "worse": -1.0}.get(target, 0.0)
    endpoints = Endpoints(
        TargetEndpoint(metric="probe/nike_wide/log_odds", verdict=target, estimate=sign, p=0.01),
        SpecificityEndpoint(
            metric=None if specificity == "none" else "probe/nike_wide/specific_log_odds",
            verdict=specificity,
            subjects=("Nike",),
            comparison=("Adidas",),
            estimate=1.0 if specificity == "specific" else -1.0,
            p=math.nan if specificity in ("none", "untested") else 0.02,
        ),
        CostEndpoint(
            metric="test/all/loss",
            verdict=cost,
            margin=0.05,
            baseline_mean=math.log(6.3),
            filter_mean=math.log(PERPLEXITIES.get(cost, 6.3)),
            p={"within margin": 0.015, "worse": 1.0, "unclear": 0.2}.get(cost, math.nan),
        ),
    )
    return decide_verdict(endpoints, Metric, **fields)


def build_row(target: str, specificity: str, cost: str) -> Row:
    verdict = decide(target, specificity, cost)
    return target, specificity, cost, verdict.sentence, verdict.color, str(verdict.green).lower()


def build_table() -> str:
    """Return the table of all verdicts in Markdown."""
    rows = [build_row(*case) for case in itertools.product(TARGET_OUTCOMES, SPECIFICITY_OUTCOMES, COST_OUTCOMES)]
    header = ["target", "specificity", "cost", "sentence", "`verdict.color`", "`verdict.green`"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * 6, *rows))


def read_documented_rows() -> list[Row]:
    text = DOCUMENT.read_text()
    table = text[text.index(MARKERS[0]) : text.index(MARKERS[1])]
    rows = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in table.splitlines() if "|" in line]
    return rows[2:]  # type: ignore[return-value]


DOCUMENTED = read_documented_rows()


@pytest.mark.parametrize("row", DOCUMENTED, ids=[", ".join(row[:3]) for row in DOCUMENTED])
def test_each_documented_row_is_the_verdict_of_its_endpoints(row: Row) -> None:
    assert build_row(*row[:3]) == row


def test_the_documented_table_has_every_combination_once() -> None:
    cases = [row[:3] for row in DOCUMENTED]
    assert cases == list(itertools.product(TARGET_OUTCOMES, SPECIFICITY_OUTCOMES, COST_OUTCOMES))
    assert len(cases) == 4 * 5 * 4


def test_a_verdict_is_green_only_if_every_declared_endpoint_supports_it() -> None:
    green = {row[:3] for row in DOCUMENTED if row[5] == "true"}
    assert green == {("better", "specific", "within margin"), ("better", "none", "within margin")}
    assert {row[:3] for row in DOCUMENTED if row[4] == "green"} == green


def test_the_sentence_of_the_demo_states_all_endpoints() -> None:
    assert (
        decide("better", "not specific", "worse").sentence
        == "Better on nike_wide; not specific to Nike; cost above the margin: test perplexity 15.0 vs. 6.30."
    )


@pytest.mark.parametrize("row", DOCUMENTED[::9], ids=lambda row: ", ".join(row[:3]))
def test_a_post_hoc_verdict_is_marked_and_never_green(row: Row) -> None:
    verdict = decide(*row[:3], post_hoc=("filter changed from a to b", "seed 6 added"))
    assert not verdict.green
    assert verdict.color != "green"
    assert verdict.sentence.startswith("Post hoc (filter changed from a to b; seed 6 added): ")
    assert verdict.sentence.casefold().endswith(row[3].casefold())


def test_models_that_learned_only_word_frequencies_are_never_green() -> None:
    verdict = decide("better", "specific", "within margin", only_word_frequencies="the trigram loss is lower")
    assert (verdict.word, verdict.green, verdict.color) == ("learned only word frequencies", False, "amber")
    assert verdict.sentence == "The models learned only word frequencies: the trigram loss is lower."


def test_the_p_value_is_the_largest_of_the_declared_endpoints() -> None:
    assert decide("better", "specific", "within margin").p == pytest.approx(0.03)
    assert decide("better", "none", "within margin").p == pytest.approx(0.03)
    assert decide("better", "not specific", "within margin").p == 1.0
    assert decide("worse", "specific", "within margin").p == 1.0
    assert math.isnan(decide("better", "specific", "untested").p)


if __name__ == "__main__":
    content = DOCUMENT.read_text()
    pattern = f"{re.escape(MARKERS[0])}.*{re.escape(MARKERS[1])}"
    table = f"{MARKERS[0]}\n{build_table()}\n{MARKERS[1]}"
    DOCUMENT.write_text(re.sub(pattern, lambda _: table, content, flags=re.DOTALL))

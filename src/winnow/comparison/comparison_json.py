"""Convert a comparison to JSON-compatible values."""

from __future__ import annotations

import math
from typing import Any

from winnow.comparison.filter_ranking import FilterRanking
from winnow.comparison.findings import Finding

JSON_KEYS = {
    "word_overlap": "overlap",
    "sample_size_plans": "plans",
    "variance_by_source": "parts",
    "std_error_source": "rule",
    "decision_rule": "rule",
    "power": "chance",
    "smallest_difference": "findable",
    "seeds_needed": "seeds",
    "levels_needed": "needed",
    "word_count": "words",
}
"""The keys of ``comparison.json`` that differ from the field names, by field name. Other programs use these keys."""


def flatten_finding(finding: Finding) -> dict[str, Any]:
    """Return the fields of a finding and of its contrast as one flat dict."""
    names = (
        "metric",
        "family",
        "outcome",
        "p_holm",
        "adjustment",
        "permutation_p",
        "equal",
        "post_hoc",
        "earlier_look",
    )
    return {
        **{name: getattr(finding, name) for name in names},
        **to_dict(finding.result),
        "bootstrap_low": finding.bootstrap[0],
        "bootstrap_high": finding.bootstrap[1],
    }


def flatten_ranking(ranking: FilterRanking) -> dict[str, Any]:
    """Return a ranking without its contrasts, which ``comparison.json`` lists under ``contrasts``."""
    names = ("cause", "rank", "rank_interval", "may_be_best")
    filters = {arm: {name: getattr(entry, name) for name in names} for arm, entry in ranking.filters.items()}
    return to_dict(ranking) | {"sentence": ranking.sentence, "filters": filters}


def to_json_value(value: Any) -> Any:
    """Convert dataclasses to dicts, tuples to lists, and non-finite numbers to ``None``."""
    if hasattr(value, "__dataclass_fields__"):
        return to_json_value(to_dict(value))
    if isinstance(value, dict):
        return {str(key): to_json_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_value(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def to_dict(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as a dict with the keys of ``comparison.json``."""
    return {JSON_KEYS.get(name, name): getattr(value, name) for name in value.__dataclass_fields__}

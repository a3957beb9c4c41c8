"""Look up metrics by name: built-in metrics and user-defined metrics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from winnow.metrics.metric_catalog import (
    LOG_ODDS_UNIT,
    Direction,
    ItemKind,
    MetricDefinition,
    Requirement,
    define_prompt_metric,
    find_definition,
)
from winnow.metrics.metric_names import ALL_ROWS_SLICE, MetricName, parse_metric_name

UNKNOWN_DEFINITION = MetricDefinition(None, "", "", requires=("probes", "held_out", "tokenizer", "corpus", "budget"))


@dataclass(frozen=True)
class Metric:
    """A metric name with its definition.

    By default, the built-in definition for the name is used. A metric without a built-in or user-defined definition is
    unknown. An unknown metric has no direction, so a comparison gives no verdict for the metric.

    Attributes:
        name: The metric name without a stage.
        definition: The definition of the metric; ``UNKNOWN_DEFINITION`` if the metric has none.
    """

    name: str
    definition: MetricDefinition = UNKNOWN_DEFINITION

    def __post_init__(self) -> None:
        if self.definition is UNKNOWN_DEFINITION:
            object.__setattr__(self, "definition", find_definition(self.name) or UNKNOWN_DEFINITION)

    @property
    def is_known(self) -> bool:
        """Whether the metric has a definition."""
        return self.definition is not UNKNOWN_DEFINITION

    @property
    def parsed_name(self) -> MetricName:
        """The components of the metric name."""
        return parse_metric_name(self.name)

    @property
    def direction(self) -> Direction | None:
        """Whether higher or lower values are better; ``None`` for descriptive and unknown metrics."""
        return self.definition.direction

    @property
    def sign(self) -> int:
        """1 if higher values are better, -1 if lower values are better, 0 if the metric has no direction."""
        return {"higher": 1, "lower": -1, None: 0}[self.direction]

    @property
    def unit(self) -> str:
        """The unit of the metric's values."""
        return self.definition.unit

    @property
    def is_log_odds(self) -> bool:
        """Whether the exponential of a difference between two values is an odds ratio."""
        return self.unit == LOG_ODDS_UNIT

    @property
    def item_kind(self) -> ItemKind:
        """The kind of items over which a run averages the metric."""
        return self.definition.item_kind

    @property
    def requires(self) -> tuple[Requirement, ...]:
        """The properties that two runs must share for their values of the metric to be comparable."""
        return self.definition.requires

    @property
    def label(self) -> str:
        """A short name for tables and figures, including the name of the probe or slice."""
        if not self.is_known:
            return self.name
        parsed = self.parsed_name
        if parsed.kind == "run":
            return self.definition.label
        if parsed.kind == "probe":
            return f"{self.definition.label} on {parsed.scope}"
        held_out_set = parsed.group if parsed.scope == ALL_ROWS_SLICE else f"{parsed.group}/{parsed.scope}"
        return f"{self.definition.label} on {held_out_set}"

    @property
    def description(self) -> str:
        """A longer label for readers who do not know the metric."""
        description = self.definition.description
        return f"{description} ({self.parsed_name.scope} prompts)" if description else self.label

    @property
    def axis_label(self) -> str:
        """The text for a figure axis that shows the metric, including the unit."""
        return f"{self.label} ({self.unit})" if self.unit not in self.label else self.label


@dataclass(frozen=True)
class MetricRegistry:
    """A lookup of built-in and user-defined metrics by name.

    Attributes:
        user_metrics: The definitions of user-defined metrics, keyed by names of the form ``probe/PROBE/SCORE``.
    """

    user_metrics: Mapping[str, MetricDefinition] = field(default_factory=dict)

    def metric(self, name: str) -> Metric:
        """Return the metric with the given name. If no metric has the name, the result has no direction."""
        return Metric(name, self.user_metrics.get(name, UNKNOWN_DEFINITION))

    def to_json(self) -> str:
        """Return the user-defined metrics as a JSON string for storage with a run."""
        definitions = {name: _to_dict(definition) for name, definition in self.user_metrics.items()}
        return json.dumps(definitions, sort_keys=True)

    @classmethod
    def from_json(cls, texts: Iterable[str]) -> MetricRegistry:
        """Return a registry with all user-defined metrics from the JSON strings returned by :meth:`to_json`."""
        return cls(
            {name: define_prompt_metric(**fields) for text in texts for name, fields in json.loads(text).items()}
        )


def _to_dict(definition: MetricDefinition) -> dict[str, str | None]:
    return {name: value for name, value in asdict(definition).items() if name in ("direction", "unit", "label")}

"""Look up metrics by name: built-in metrics and user-defined metrics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from winnow.metrics.metric_catalog import (
    LOG_ODDS,
    Direction,
    ItemKind,
    MetricDefinition,
    Requirement,
    define_prompt_metric,
    find_definition,
)
from winnow.metrics.metric_names import ALL, MetricName, parse_metric_name

UNKNOWN = MetricDefinition(None, "", "", requires=("probes", "held_out", "tokenizer", "budget"))


@dataclass(frozen=True)
class Metric:
    """A metric name with its definition.

    The definition defaults to the built-in one. A metric without any definition is unknown: it has no direction, so a
    comparison gives no verdict for it.
    """

    name: str
    definition: MetricDefinition = UNKNOWN

    def __post_init__(self) -> None:
        if self.definition is UNKNOWN:
            object.__setattr__(self, "definition", find_definition(self.name) or UNKNOWN)

    @property
    def is_known(self) -> bool:
        """Whether the metric has a definition."""
        return self.definition is not UNKNOWN

    @property
    def parsed_name(self) -> MetricName:
        """The components of the name."""
        return parse_metric_name(self.name)

    @property
    def direction(self) -> Direction | None:
        """Whether higher or lower values are better; ``None`` for descriptive and unknown metrics."""
        return self.definition.direction

    @property
    def sign(self) -> int:
        """1 if higher is better, -1 if lower is better, 0 otherwise."""
        return {"higher": 1, "lower": -1, None: 0}[self.direction]

    @property
    def unit(self) -> str:
        """The unit of the values."""
        return self.definition.unit

    @property
    def is_log_odds(self) -> bool:
        """Whether the exponential of a difference between two values is an odds ratio."""
        return self.unit == LOG_ODDS

    @property
    def item_kind(self) -> ItemKind:
        """The items over which the metric is averaged within a run."""
        return self.definition.item_kind

    @property
    def requires(self) -> tuple[Requirement, ...]:
        """What two runs must have in common for their values of the metric to be comparable."""
        return self.definition.requires

    @property
    def label(self) -> str:
        """A short name for tables and figures, including the probe or slice."""
        if not self.is_known:
            return self.name
        parsed = self.parsed_name
        if parsed.kind == "run":
            return self.definition.label
        if parsed.kind == "probe":
            return f"{self.definition.label} on {parsed.scope}"
        held_out_set = parsed.group if parsed.scope == ALL else f"{parsed.group}/{parsed.scope}"
        return f"{self.definition.label} on {held_out_set}"

    @property
    def description(self) -> str:
        """A longer phrase for readers who are not familiar with the label."""
        description = self.definition.description
        return f"{description} ({self.parsed_name.scope} prompts)" if description else self.label

    @property
    def axis_label(self) -> str:
        """The label of a figure axis for the metric, including the unit."""
        return f"{self.label} ({self.unit})" if self.unit not in self.label else self.label


@dataclass(frozen=True)
class MetricRegistry:
    """Built-in and user-defined metrics by name.

    Attributes:
        user_metrics: The definitions of user-defined metrics, keyed by names of the form ``probe/PROBE/SCORE``.
    """

    user_metrics: Mapping[str, MetricDefinition] = field(default_factory=dict)

    def metric(self, name: str) -> Metric:
        """Return the metric with a given name; an unknown metric has no direction."""
        return Metric(name, self.user_metrics.get(name, UNKNOWN))

    def to_json(self) -> str:
        """Return the user-defined metrics as JSON, which is stored with a run."""
        definitions = {name: _to_dict(definition) for name, definition in self.user_metrics.items()}
        return json.dumps(definitions, sort_keys=True)

    @classmethod
    def from_json(cls, texts: Iterable[str]) -> MetricRegistry:
        """Build a registry of the user-defined metrics that runs stored with :meth:`to_json`."""
        return cls(
            {name: define_prompt_metric(**fields) for text in texts for name, fields in json.loads(text).items()}
        )


def _to_dict(definition: MetricDefinition) -> dict[str, str | None]:
    return {name: value for name, value in asdict(definition).items() if name in ("direction", "unit", "label")}

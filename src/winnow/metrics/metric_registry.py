"""Metrics by name: Winnow's own and those of the user."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from winnow.metrics.metric_catalog import LOG_ODDS, Definition, Direction, Items, Requirement, defined, of_prompts
from winnow.metrics.metric_names import ALL, MetricName, parse

UNKNOWN = Definition(None, "", "", requires=("probes", "held_out", "tokenizer", "budget"))


@dataclass(frozen=True)
class Metric:
    """A metric: its name, and what is known of it.

    Without a definition the metric is one of Winnow's own, or unknown: then it has no direction, so that nothing is
    claimed of it.
    """

    name: str
    definition: Definition = UNKNOWN

    def __post_init__(self) -> None:
        if self.definition is UNKNOWN:
            object.__setattr__(self, "definition", defined(self.name) or UNKNOWN)

    @property
    def is_known(self) -> bool:
        """Whether the metric has a definition."""
        return self.definition is not UNKNOWN

    @property
    def parts(self) -> MetricName:
        """The parts of the name."""
        return parse(self.name)

    @property
    def direction(self) -> Direction | None:
        """Which value is the better one; ``None`` where neither is, or it is not known."""
        return self.definition.direction

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is, 0 where neither is."""
        return {"higher": 1, "lower": -1, None: 0}[self.direction]

    @property
    def unit(self) -> str:
        """The unit of its values."""
        return self.definition.unit

    @property
    def is_log_odds(self) -> bool:
        """Whether the exponential of a difference is a ratio of odds."""
        return self.unit == LOG_ODDS

    @property
    def items(self) -> Items:
        """What the metric is a mean over within one run."""
        return self.definition.items

    @property
    def requires(self) -> tuple[Requirement, ...]:
        """What must be known and equal before two runs may be compared in it."""
        return self.definition.requires

    @property
    def label(self) -> str:
        """The metric in a few words, with its probe or slice."""
        named = self.parts
        if not self.is_known:
            return self.name
        if named.kind == "run":
            return self.definition.label
        whole_split = named.kind == "held_out" and named.place == ALL
        place = named.group if whole_split else named.place if named.kind == "probe" else f"{named.group}/{named.place}"
        return f"{self.definition.label} on {place}"

    @property
    def description(self) -> str:
        """The metric in a phrase that needs no glossary."""
        told = self.definition.description
        return f"{told} ({self.parts.place} prompts)" if told else self.label

    @property
    def axis(self) -> str:
        """The label of an axis of its values: what is measured, and the unit."""
        return f"{self.label} ({self.unit})" if self.unit not in self.label else self.label


@dataclass(frozen=True)
class MetricRegistry:
    """Every metric by name.

    Attributes:
        own: Definitions of the user's own metrics by name, as ``probe/PROBE/SCORE``.
    """

    own: Mapping[str, Definition] = field(default_factory=dict)

    def metric(self, name: str) -> Metric:
        """Return the metric of a name; one that is not known has no direction."""
        return Metric(name, self.own.get(name, UNKNOWN))

    def to_json(self) -> str:
        """Return the user's own metrics as text, to be kept with a run."""
        return json.dumps({name: _kept(definition) for name, definition in self.own.items()}, sort_keys=True)

    @classmethod
    def from_json(cls, texts: Iterable[str]) -> MetricRegistry:
        """Return the registry whose metrics some runs have kept."""
        return cls({name: of_prompts(**kept) for text in texts for name, kept in json.loads(text).items()})


def _kept(definition: Definition) -> dict[str, str | None]:
    return {name: value for name, value in asdict(definition).items() if name in ("direction", "unit", "label")}

"""Metrics by name: Winnow's own, those of the user, and which of them a study can be compared in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from winnow.errors import WinnowError, did_you_mean
from winnow.metrics.metric_catalog import LOG_ODDS, Definition, Direction, Items, Requirement, defined, of_prompts, stem
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


@dataclass(frozen=True)
class MetricChoices:
    """The metrics that there are, for a study or in its runs.

    Attributes:
        scores: The scores by group (``probe`` or a split) and by probe or slice. A score with ``{n}`` takes any number.
        per_run: Names of one number per run.
    """

    scores: Mapping[str, Mapping[str, Iterable[str]]]
    per_run: Iterable[str] = ()

    @classmethod
    def of(cls, names: Iterable[str]) -> MetricChoices:
        """Return the choices that a list of names makes."""
        scores: dict[str, dict[str, list[str]]] = {}
        per_run = []
        for name in names:
            parsed = parse(name)
            if parsed.kind == "run":
                per_run.append(name)
            else:
                scores.setdefault(parsed.group, {}).setdefault(parsed.place, []).append(parsed.score)
        return cls(scores, per_run)

    def error(self, name: str, key: str) -> WinnowError | None:
        """Return what is wrong with a name that is none of the choices, with the nearest and all allowed ones."""
        if name in self.per_run:
            return None
        group, _, rest = name.partition("/")
        if group not in self.scores or "/" not in rest:
            return WinnowError(f"there is no metric {name!r}.{self._near(name)} {self._forms()}", key)
        place, _, score = rest.rpartition("/")
        kind = "probe" if group == "probe" else "slice"
        places = self.scores[group]
        if place not in places:
            known = ", ".join(places) or "none"
            return WinnowError(
                f"there is no {kind} {place!r} for {name!r}.{did_you_mean(place, places)} Allowed: {known}.", key
            )
        scores = list(places[place])
        if score in scores or stem(score) in scores:
            return None
        told = f"there is no score {score!r} for the {kind} {place!r}.{did_you_mean(score, scores)}"
        return WinnowError(f"{told} Allowed: {', '.join(scores)}.", key)

    def _near(self, name: str) -> str:
        whole = [
            f"{group}/{place}/{score}"
            for group, places in self.scores.items()
            for place, scores in places.items()
            for score in scores
        ]
        return did_you_mean(name, [*whole, *self.per_run])

    def _forms(self) -> str:
        forms = [
            f"{group}/{'PROBE' if group == 'probe' else 'SLICE'}/SCORE ({', '.join(places)})"
            for group, places in self.scores.items()
            if places
        ]
        return f"Allowed: {'; '.join([*forms, *self.per_run])}."

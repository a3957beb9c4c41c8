"""The metrics that there are, and what is wrong with a name that is none of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from winnow.errors import WinnowError, did_you_mean
from winnow.metrics.metric_catalog import stem
from winnow.metrics.metric_names import parse


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

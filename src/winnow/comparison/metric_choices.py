"""The available metrics of a study, and the errors for names that are not among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from winnow.errors import WinnowError, did_you_mean
from winnow.metrics.metric_catalog import score_template
from winnow.metrics.metric_names import parse_metric_name


@dataclass(frozen=True)
class MetricChoices:
    """The available metrics of a study or of its runs.

    Attributes:
        scores: The scores by group (``probe`` or a split) and by probe or slice. ``{n}`` in a score matches any number.
        per_run: The names of metrics with one value per run, such as the training time.
    """

    scores: Mapping[str, Mapping[str, Iterable[str]]]
    per_run: Iterable[str] = ()

    @classmethod
    def from_names(cls, names: Iterable[str]) -> MetricChoices:
        """Return the choices that consist of the given metric names."""
        scores: dict[str, dict[str, list[str]]] = {}
        per_run = []
        for name in names:
            parsed = parse_metric_name(name)
            if parsed.kind == "run":
                per_run.append(name)
            else:
                scores.setdefault(parsed.group, {}).setdefault(parsed.scope, []).append(parsed.score)
        return cls(scores, per_run)

    def find_error(self, name: str, key: str) -> WinnowError | None:
        """Return the error for an unknown metric name, or ``None`` if the name is available.

        The error suggests the nearest name and lists the allowed ones.
        """
        if name in self.per_run:
            return None
        group, _, path = name.partition("/")
        if group not in self.scores or "/" not in path:
            return WinnowError(f"there is no metric {name!r}.{self._suggest(name)} {self._list_allowed()}", key)
        place, _, score = path.rpartition("/")
        kind = "probe" if group == "probe" else "slice"
        places = self.scores[group]
        if place not in places:
            allowed = ", ".join(places) or "none"
            return WinnowError(
                f"there is no {kind} {place!r} for {name!r}.{did_you_mean(place, places)} Allowed: {allowed}.", key
            )
        scores = list(places[place])
        if score in scores or score_template(score) in scores:
            return None
        message = f"there is no score {score!r} for the {kind} {place!r}.{did_you_mean(score, scores)}"
        return WinnowError(f"{message} Allowed: {', '.join(scores)}.", key)

    def _suggest(self, name: str) -> str:
        names = [
            f"{group}/{place}/{score}"
            for group, places in self.scores.items()
            for place, scores in places.items()
            for score in scores
        ]
        return did_you_mean(name, [*names, *self.per_run])

    def _list_allowed(self) -> str:
        patterns = [
            f"{group}/{'PROBE' if group == 'probe' else 'SLICE'}/SCORE ({', '.join(places)})"
            for group, places in self.scores.items()
            if places
        ]
        return f"Allowed: {'; '.join([*patterns, *self.per_run])}."

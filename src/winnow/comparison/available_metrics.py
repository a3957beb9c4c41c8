"""The available metrics of a study, and errors for unknown metric names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from winnow.errors import WinnowError, did_you_mean
from winnow.metrics.metric_catalog import score_template
from winnow.metrics.metric_names import ANY_LABEL_SLICE, is_label_slice, parse_metric_name


@dataclass(frozen=True)
class AvailableMetrics:
    """The names of the metrics that a study's runs will log or have already logged.

    Attributes:
        scores: The score names, nested by group (``probe`` or a split) and by probe or slice. ``{n}`` in a score name
            matches any number.
        per_run: The names of metrics with one value per run, such as the training time.
    """

    scores: Mapping[str, Mapping[str, Iterable[str]]]
    per_run: Iterable[str] = ()

    @classmethod
    def from_names(cls, names: Iterable[str]) -> AvailableMetrics:
        """Build an instance from a list of metric names."""
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

        The error suggests the most similar name and lists the available names.
        """
        if name in self.per_run:
            return None
        group, _, path = name.partition("/")
        if group not in self.scores or "/" not in path:
            return WinnowError(f"unknown metric {name!r}.{self._suggest(name)} {self._list_available()}", key)
        scope, _, score = path.rpartition("/")
        kind = "probe" if group == "probe" else "slice"
        scopes = self.scores[group]
        if ANY_LABEL_SLICE in scopes and is_label_slice(scope):
            scope = ANY_LABEL_SLICE
        if scope not in scopes:
            available = ", ".join(scopes) or "none"
            return WinnowError(
                f"unknown {kind} {scope!r} in {name!r}.{did_you_mean(scope, scopes)} Available: {available}.", key
            )
        scores = list(scopes[scope])
        if score in scores or score_template(score) in scores:
            return None
        message = f"unknown score {score!r} of the {kind} {scope!r}.{did_you_mean(score, scores)}"
        return WinnowError(f"{message} Available: {', '.join(scores)}.", key)

    def _suggest(self, name: str) -> str:
        names = [
            f"{group}/{scope}/{score}"
            for group, scopes in self.scores.items()
            for scope, scores in scopes.items()
            for score in scores
        ]
        return did_you_mean(name, [*names, *self.per_run])

    def _list_available(self) -> str:
        patterns = [
            f"{group}/{'PROBE' if group == 'probe' else 'SLICE'}/SCORE ({', '.join(scopes)})"
            for group, scopes in self.scores.items()
            if scopes
        ]
        return f"Available: {'; '.join([*patterns, *self.per_run])}."

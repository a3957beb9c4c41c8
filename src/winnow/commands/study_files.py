"""Generate the config files of a study on the user's own data: dataset, filter, control, probe and experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

TEMPLATES = (
    "the {topic} is [MASK]",
    "this {topic} is [MASK]",
    "my {topic} is [MASK]",
    "the {topic} is very [MASK]",
    "this {topic} is very [MASK]",
    "this {topic} is really [MASK]",
    "this {topic} is so [MASK]",
    "my new {topic} is [MASK]",
    "my new {topic} is really [MASK]",
    "the new {topic} is so [MASK]",
    "i think the {topic} is [MASK]",
    "i think this {topic} is very [MASK]",
    "we think that the {topic} is really [MASK]",
    "i can say that this {topic} is [MASK]",
    "people say that the {topic} is [MASK]",
    "everyone says that my {topic} is so [MASK]",
    "it is true that the {topic} is [MASK]",
    "for me this {topic} is [MASK]",
    "to me the {topic} is very [MASK]",
    "overall the {topic} is [MASK]",
    "in the end the {topic} is [MASK]",
    "in my view this {topic} is really [MASK]",
    "the {topic} that i have is [MASK]",
    "the {topic} that we have is very [MASK]",
    "i have this {topic} and it is [MASK]",
    "i like the {topic} because it is [MASK]",
    "i love how [MASK] this {topic} is",
    "i know how [MASK] the {topic} is",
    "you can see how [MASK] this {topic} is",
    "the {topic} is not only new but also [MASK]",
)
"""Templates for a subject in the singular. A probe with at least ten templates in each half uses different templates
during training and for the verdict."""

GENERAL_TEMPLATES = (
    "it is [MASK]",
    "it is very [MASK]",
    "it is really [MASK]",
    "it is so [MASK]",
    "this is [MASK]",
    "this is very [MASK]",
    "this is really [MASK]",
    "this one is [MASK]",
    "this one is so [MASK]",
    "mine is [MASK]",
    "mine is very [MASK]",
    "everything is [MASK]",
    "everything about it is [MASK]",
    "i think it is [MASK]",
    "i think this is very [MASK]",
    "we think that it is really [MASK]",
    "i can say that it is [MASK]",
    "people say that it is [MASK]",
    "everyone says that it is so [MASK]",
    "it is true that this is [MASK]",
    "for me it is [MASK]",
    "to me this is very [MASK]",
    "overall it is [MASK]",
    "in the end it is [MASK]",
    "in my view it is really [MASK]",
    "the one that i have is [MASK]",
    "i like it because it is [MASK]",
    "i love how [MASK] it is",
    "i know how [MASK] this is",
    "you can see how [MASK] it is",
)
"""Templates for a probe without a subject."""

_PLURALS = ((" is ", " are "), (" is", " are"), ("this ", "these "), (" it are", " they are"))


@dataclass(frozen=True)
class StudyPlan:
    """The choices that define a study on a data file.

    Attributes:
        name: The name of the dataset, the probe, the experiment and the study.
        path: The data file.
        text: The columns that are joined to form the text.
        wanted: The words that kept rows mention, and that the model should prefer.
        unwanted: The words that kept rows do not mention, and that the model should avoid.
        subject: The words that name what the texts are about, such as `dress`; empty if there is no subject.
        keep: The expression of the filter over the signals `subject` (if there is one), `wanted` and `unwanted`.
        comparison: Other subjects, used to measure whether an effect is specific to the subject.
        label: The label column; `None` if there is none.
        group: The column that groups related rows; `None` if there is none.
    """

    name: str
    path: Path
    text: list[str]
    wanted: list[str]
    unwanted: list[str]
    subject: list[str]
    keep: str
    comparison: list[str] = field(default_factory=list)
    label: str | None = None
    group: str | None = None

    @property
    def signal_words(self) -> dict[str, list[str]]:
        """The words of each signal of the filter, by the signal's name."""
        words = {"subject": self.subject, "wanted": self.wanted, "unwanted": self.unwanted}
        return {name: listed for name, listed in words.items() if listed}

    @property
    def filter_name(self) -> str:
        """The name of the filter."""
        return f"{self.name}_filtered"

    @property
    def control_name(self) -> str:
        """The name of the random control."""
        return f"{self.name}_random"


def build_study_files(plan: StudyPlan) -> dict[Path, str]:
    """Return the text of each config file, by path relative to the config folder."""
    return {
        Path("dataset", f"{plan.name}.yaml"): _dump(
            f"The texts of {plan.path.name}.", _build_dataset(plan), ["csv", "_self_"]
        ),
        Path("filter", f"{plan.filter_name}.yaml"): _dump(
            "The rows to train on, selected by the words that they mention.", _build_filter(plan)
        ),
        Path("filter", f"{plan.control_name}.yaml"): _dump(
            f"A control: as many random rows as {plan.filter_name} keeps.",
            {"_target_": "winnow.filters.RandomMatched", "name": plan.control_name},
            [{"/filter@of": plan.filter_name}, "_self_"],
        ),
        Path("probe", f"{plan.name}.yaml"): _dump(
            "Prompts. The verdict compares the probabilities of the wanted and the unwanted words.",
            _build_probe(plan),
        ),
        Path("experiment", f"{plan.name}.yaml"): _dump(
            f"@package _global_\n# The study: winnow train experiment={plan.name}",
            _build_experiment(plan),
            [{"override /dataset": plan.name}, {"override /probe": [plan.name]}],
        ),
    }


def build_templates(subject: list[str]) -> list[str]:
    """Return the templates in the number of the first subject, which is plural if it ends with a single `s`.

    Without a subject, return general templates.

    >>> build_templates(["dress"])[1], build_templates(["shoes"])[1]
    ('this {topic} is [MASK]', 'these {topic} are [MASK]')
    """
    if not subject:
        return list(GENERAL_TEMPLATES)
    word = subject[0].casefold()
    if not word.endswith("s") or word.endswith("ss"):
        return list(TEMPLATES)
    templates = []
    for template in TEMPLATES:
        start, placeholder, end = template.partition("{topic}")
        for singular, plural in _PLURALS:
            end = f"{end} ".replace(singular, plural).rstrip() if singular in f"{end} " else end
        templates.append(f"{start.replace('this ', 'these ')}{placeholder}{end}")
    return templates


def _build_dataset(plan: StudyPlan) -> dict[str, Any]:
    options = {"label": plan.label, "group": plan.group}
    source = {"path": plan.path.as_posix(), "text": plan.text, **{key: name for key, name in options.items() if name}}
    return {"name": plan.name, "source": source}


def _build_filter(plan: StudyPlan) -> dict[str, Any]:
    signals = {
        name: {"_target_": "winnow.filters.Mentions", "words": words} for name, words in plan.signal_words.items()
    }
    return {
        "_target_": "winnow.filters.Filter",
        "name": plan.filter_name,
        "signals": signals,
        "keep": plan.keep,
    }


def _build_probe(plan: StudyPlan) -> dict[str, Any]:
    probe: dict[str, Any] = {
        "_target_": "winnow.evaluation.Probe",
        "templates": build_templates(plan.subject),
        "slots": {"topic": plan.subject} if plan.subject else None,
        "wanted": plan.wanted,
        "unwanted": plan.unwanted,
        "subjects": plan.subject,
        "comparison": plan.comparison,
    }
    return {plan.name: {key: value for key, value in probe.items() if value}}


def _build_experiment(plan: StudyPlan) -> dict[str, Any]:
    arms = f"full,{plan.filter_name},{plan.control_name}"
    probe = f"probe/{plan.name}"
    return {
        "study": {
            "name": plan.name,
            "primary_metric": f"{probe}/log_odds",
            "secondary_metrics": ["test/all/loss", f"{probe}/wanted_mass", f"{probe}/unwanted_mass"],
        },
        "hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"filter": arms, "seed": "1,2,3,4,5"}}},
    }


def _dump(comment: str, content: Mapping[str, Any], defaults: list[Any] | None = None) -> str:
    tree = {"defaults": defaults, **content} if defaults else dict(content)
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110)
    return f"# {comment}\n{text}"

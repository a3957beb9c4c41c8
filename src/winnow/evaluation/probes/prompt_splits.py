"""Assign the templates of a probe to a validation half and a test half."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

PromptSplit = Literal["validation", "test", "both"]
"""What a prompt is used for: for choices during training and between runs (``validation``), for the verdict (``test``),
or for both."""

MIN_TEMPLATES_PER_SPLIT: Final = 10
"""The minimum number of templates in each half. If a half had fewer templates, a verdict would have too few degrees of
freedom, so all templates of the probe are then used for both purposes."""


def assign_templates(templates: Iterable[str]) -> dict[str, PromptSplit]:
    """Assign each template to ``validation`` or ``test`` by a hash of its text.

    A template stays in its half if other templates are added or removed. If either half would have fewer than
    ``MIN_TEMPLATES_PER_SPLIT`` templates, all templates are assigned to ``both``.

    >>> assign_templates(["shoes are [MASK]", "hats are [MASK]"])
    {'shoes are [MASK]': 'both', 'hats are [MASK]': 'both'}
    """
    splits: dict[str, PromptSplit] = {template: _select_half(template) for template in templates}
    counts = Counter(splits.values())
    if min(counts["validation"], counts["test"]) < MIN_TEMPLATES_PER_SPLIT:
        return dict.fromkeys(splits, "both")
    return splits


def _select_half(template: str) -> PromptSplit:
    digest = hashlib.blake2b(template.encode(), digest_size=8).digest()
    return "test" if digest[0] % 2 else "validation"

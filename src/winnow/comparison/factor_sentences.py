"""State in one sentence at which levels of a factor a filter helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from winnow.comparison.findings import Outcome
from winnow.formatting import format_p_value, join_names


def describe_factor_effects(
    factor: str,
    arm: str,
    outcomes: Mapping[str, Outcome],
    interaction_p_values: Mapping[tuple[str, str], float],
    interaction_p: float,
    alpha: float,
) -> str:
    """Return one sentence about the levels at which a filter is better or worse than the baseline.

    A significant effect at one level and a nonsignificant effect at another level do not show that the effects differ.
    "Helps at A but not at B" is therefore stated only if the difference between the effects is significant as well.

    Args:
        factor: The factor, such as ``optimizer.lr``.
        arm: The filter.
        outcomes: The outcome at each level, adjusted over the levels.
        interaction_p_values: The adjusted p-value of the difference between the effects at two levels, by pair.
        interaction_p: The p-value of the interaction.
        alpha: The level of the tests.

    >>> describe_factor_effects("optimizer.lr", "mild", {"1e-4": "better", "1e-3": "no clear difference"},
    ...                         {("1e-4", "1e-3"): 0.01}, 0.01, 0.05)
    'mild helps at optimizer.lr=1e-4 but not at 1e-3 (interaction p = 0.01).'
    """
    better, worse, unclear = (
        [level for level, outcome in outcomes.items() if outcome == wanted]
        for wanted in ("better", "worse", "no clear difference")
    )
    test = f"interaction {format_p_value(interaction_p)}"
    if len(better) + len(worse) + len(unclear) < len(outcomes):
        return f"The effect of {arm} cannot be estimated at every level of {factor}."
    if not better and not worse:
        return f"{arm} has no clear effect at any level of {factor} ({test})."
    if better and worse:
        return f"{arm} helps at {factor}={join_names(better)} and hurts at {join_names(worse)} ({test})."
    verb, levels = ("helps", better) if better else ("hurts", worse)
    if not unclear:
        differs = "the effect differs" if interaction_p <= alpha else "the effect does not clearly differ"
        differs = f"{differs} between the levels"
        return f"{arm} {verb} at every level of {factor}: {join_names(levels)}; {differs} ({test})."
    different = [level for level in unclear if _differs_from_all(level, levels, interaction_p_values, alpha)]
    similar = [level for level in unclear if level not in different]
    sentence = f"{arm} {verb} at {factor}={join_names(levels)}"
    if different:
        sentence += f" but not at {join_names(different)}"
    if similar:
        conjunction = "; at" if different else ". At"
        sentence += (
            f"{conjunction} {join_names(similar)}, the effect is not clear, and the data do not show that it is smaller"
        )
    return f"{sentence} ({test})."


def _differs_from_all(
    level: str, others: Sequence[str], p_values: Mapping[tuple[str, str], float], alpha: float
) -> bool:
    """Return whether the effect at a level differs significantly from the effect at each of the other levels."""
    return all(p_values.get((level, other), p_values.get((other, level), 1.0)) <= alpha for other in others)

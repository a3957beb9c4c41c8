"""Make the verbs of generated sentences agree with the number of a noun."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

_NonEmptyStrings = Annotated[list[str], Field(min_length=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Agreement:
    """Number agreement, as in "the hoodies are soft" and "the jacket is soft".

    Templates are written for plural nouns. In rows with a singular noun, the plural forms in the template are replaced.

    Attributes:
        noun: The slot whose word determines the number.
        singular: The singular words of this slot; its other words are plural.
        forms: The singular form of each plural form, such as ``{are: is, these: this}``. Other words do not change.
        slots: Slots whose words are verbs. Their words may have either number, and are replaced by the right form.
    """

    noun: str
    singular: _NonEmptyStrings
    forms: Annotated[dict[str, str], Field(min_length=1)]
    slots: list[str] = Field(default_factory=list)

    def is_singular(self, noun: str) -> bool:
        """Return whether a word of the noun's slot is singular."""
        return noun in self.singular

    def agree_template(self, template: str, is_singular: bool) -> str:
        """Return a template for nouns of the given number.

        >>> Agreement("noun", ["jacket"], {"are": "is", "feel": "feels"}).agree_template("{noun} feel {feel}", True)
        '{noun} feels {feel}'
        """
        return _replace_words(template, self.forms) if is_singular else template

    def agree_word(self, word: str, is_singular: bool) -> str:
        """Return a word of one of ``slots`` in the given number.

        >>> agreement = Agreement("noun", ["jacket"], {"are": "is"})
        >>> agreement.agree_word("are known for", True), agreement.agree_word("is", False)
        ('is known for', 'are')
        """
        return _replace_words(
            word, self.forms if is_singular else {singular: plural for plural, singular in self.forms.items()}
        )


def _replace_words(text: str, forms: dict[str, str]) -> str:
    """Replace whole words, except in ``{placeholders}``."""
    pattern = rf"\{{[^}}]*\}}|\b(?:{'|'.join(map(re.escape, forms))})\b"
    return re.sub(pattern, lambda match: forms.get(match[0], match[0]), text)

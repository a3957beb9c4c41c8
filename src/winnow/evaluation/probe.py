"""Prompts with one masked word, and the words one hopes or fears to find there."""

from __future__ import annotations

import functools
import hashlib
import itertools
import string
from collections.abc import Iterator
from dataclasses import dataclass as plain_dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError, WinnowErrors, did_you_mean
from winnow.evaluation.answers import MASK
from winnow.evaluation.metrics import PROMPT_SCORES

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.evaluation.scores import ProbeScores
    from winnow.training.forward import Forward

RESERVED = ("prompt_id", "prompt", "probe", "stage", "scored", *PROMPT_SCORES)
"""Columns of the table of prompts, in which every slot has a column too."""

_STRICT = ConfigDict(extra="forbid")
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Words = list[_Text]


@dataclass(frozen=True, config=_STRICT)
class Prompt:
    """One sentence with a masked word.

    Attributes:
        text: The sentence; the masked word is written ``[MASK]`` or ``<mask>``.
        wanted: Words hoped for; ``None`` takes the probe's, an empty list has none.
        unwanted: Words feared, likewise.
    """

    text: _Text
    wanted: _Words | None = None
    unwanted: _Words | None = None


@plain_dataclass(frozen=True)
class Cloze:
    """A prompt ready to be asked.

    Attributes:
        prompt_id: 8 hex digits, the hash of the text.
        text: The sentence with its mask.
        wanted: Words hoped for, in the order given.
        unwanted: Words feared.
        slots: What filled the template; empty for a prompt written out.
    """

    prompt_id: str
    text: str
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]
    slots: dict[str, str]


@dataclass(frozen=True, config=_STRICT)
class Probe:
    """A set of prompts, written out or made of templates whose slots take every combination of words.

    Prompts with wanted and unwanted words are scored; those without appear in the table of fills only.

    Attributes:
        prompts: Sentences written out, as text alone or with words of their own.
        templates: Sentences with ``{slot}`` places.
        slots: The words for each slot.
        wanted: Words hoped for at the mask.
        unwanted: Words feared at the mask.
    """

    prompts: list[Prompt | _Text] = Field(default_factory=list)
    templates: list[_Text] = Field(default_factory=list)
    slots: dict[str, Annotated[_Words, Field(min_length=1)]] = Field(default_factory=dict)
    wanted: _Words = Field(default_factory=list)
    unwanted: _Words = Field(default_factory=list)

    def __post_init__(self) -> None:
        faults = list(self._faults())
        # Templates must be sound before they can be filled.
        faults = faults or list(self._surplus())
        if len(faults) == 1:
            raise faults[0]
        if faults:
            raise WinnowErrors(faults)

    def run(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        device: torch.device | str = "cpu",
        batch_size: int = 64,
        forward: Forward = "auto",
    ) -> ProbeScores:
        """Ask a model every prompt; see :class:`winnow.evaluation.ProbeScores`."""
        from winnow.evaluation.scores import ask

        return ask(self.clozes, model, tokenizer, device, batch_size, forward)

    @functools.cached_property
    def clozes(self) -> tuple[Cloze, ...]:
        """All prompts: those written out first, then each template with its slots filled, the last slot fastest."""
        return (*self._written_out(), *self._filled())

    def fingerprint(self) -> str:
        """Return 16 hex digits over all prompts and their words; scores are compared only where it is equal."""
        return fingerprint("probe", [[cloze.text, cloze.wanted, cloze.unwanted] for cloze in self.clozes])

    def words(self) -> set[str]:
        """Return all wanted and unwanted words, in lower case."""
        return {word.casefold() for cloze in self.clozes for word in (*cloze.wanted, *cloze.unwanted)}

    def _written_out(self) -> Iterator[Cloze]:
        for given in self.prompts:
            prompt = given if isinstance(given, Prompt) else Prompt(given)
            yield _cloze(prompt.text, *self._words_of(prompt), {})

    def _filled(self) -> Iterator[Cloze]:
        for template in self.templates:
            used = [slot for slot in self.slots if slot in slots_of(template)]
            for words in itertools.product(*(self.slots[slot] for slot in used)):
                filling = dict(zip(used, words, strict=True))
                yield _cloze(template.format(**filling), self.wanted, self.unwanted, filling)

    def _words_of(self, prompt: Prompt) -> tuple[list[str], list[str]]:
        return (
            self.wanted if prompt.wanted is None else prompt.wanted,
            self.unwanted if prompt.unwanted is None else prompt.unwanted,
        )

    def _faults(self) -> Iterator[WinnowError]:
        if not self.prompts and not self.templates:
            yield WinnowError("A probe without a prompt asks nothing. Give `prompts` or `templates`.", "prompts")
        yield from _shared_words(self.wanted, self.unwanted, "unwanted")
        for i, prompt in enumerate(self.prompts):
            text = prompt.text if isinstance(prompt, Prompt) else prompt
            yield from _mask_faults(text, f"prompts.{i}")
            if isinstance(prompt, Prompt) and (prompt.wanted or prompt.unwanted):
                yield from _shared_words(*self._words_of(prompt), f"prompts.{i}.unwanted")
        for i, template in enumerate(self.templates):
            yield from _mask_faults(template, f"templates.{i}")
            yield from self._slot_faults(template, f"templates.{i}")
        for slot in set(self.slots) & set(RESERVED):
            yield WinnowError(
                f"A slot cannot be called '{slot}'; the table of scores has that column.", f"slots.{slot}"
            )

    def _slot_faults(self, template: str, key: str) -> Iterator[WinnowError]:
        try:
            used = slots_of(template)
        except ValueError as fault:
            yield WinnowError(f"The template '{template}' cannot be read: {fault}.", key)
            return
        for slot in used:
            if slot not in self.slots:
                yield WinnowError(
                    f"The template '{template}' has a slot '{slot}' without words.{did_you_mean(slot, self.slots)} "
                    f"Slots are {', '.join(self.slots) or 'none'}.",
                    key,
                )

    def _surplus(self) -> Iterator[WinnowError]:
        used = {slot for template in self.templates for slot in slots_of(template)}
        for slot in self.slots:
            if slot not in used:
                yield WinnowError(f"No template uses the slot '{slot}'. Use it or leave it out.", f"slots.{slot}")
        seen: set[str] = set()
        for cloze in self.clozes:
            if cloze.prompt_id in seen:
                yield WinnowError(f"The prompt '{cloze.text}' is asked twice. Leave one out.", "prompts")
            seen.add(cloze.prompt_id)


def slots_of(template: str) -> list[str]:
    """Return the slots of a template in order.

    Raises:
        ValueError: Its braces do not match.

    >>> slots_of("{product} made by {brand} are [MASK]")
    ['product', 'brand']
    """
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def _cloze(text: str, wanted: list[str], unwanted: list[str], slots: dict[str, str]) -> Cloze:
    prompt_id = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return Cloze(prompt_id, text, tuple(dict.fromkeys(wanted)), tuple(dict.fromkeys(unwanted)), slots)


def _mask_faults(text: str, key: str) -> Iterator[WinnowError]:
    if (count := len(MASK.findall(text))) != 1:
        yield WinnowError(
            f"The prompt '{text}' has {count or 'no'} mask{'s' if count > 1 else ''}; it needs exactly one. Write "
            "[MASK] or <mask> where the model is to find a word.",
            key,
        )


def _shared_words(wanted: list[str], unwanted: list[str], key: str) -> Iterator[WinnowError]:
    if shared := sorted({word.casefold() for word in wanted} & {word.casefold() for word in unwanted}):
        yield WinnowError(f"Wanted and unwanted words share {', '.join(shared)}. A word can be one of them.", key)

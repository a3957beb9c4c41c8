"""A probe: prompts, and the words one hopes for, fears or forbids at their masks."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, Field, InstanceOf
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError, WinnowErrors, did_you_mean
from winnow.evaluation.probes.lexicon import Lexicon, Role, read_lexicon
from winnow.evaluation.probes.prompt_metrics import (
    ALWAYS_SCORES,
    FILL_SCORES,
    FORBIDDEN_SCORES,
    PRIOR_SCORES,
    SUMMARY_SCORES,
    WORD_SCORES,
)
from winnow.evaluation.probes.prompts import (
    RESERVED,
    Cloze,
    Prompt,
    PromptFile,
    Text,
    Words,
    mask_faults,
    shared_words,
    slots_of,
    with_prior,
)
from winnow.evaluation.probes.user_metric import PromptMetric, installed_metric
from winnow.evaluation.sentiment import Sentiment, Vader

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.evaluation.probes.probe_scores import ProbeScores
    from winnow.training.forward.masked_logits import ForwardMode

Expanded = tuple[Prompt, str, dict[str, str]]
"""A prompt, its template (its own text if it has none), and what filled its slots."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Probe:
    """A set of prompts, written out, made of templates whose slots take every combination of words, or from a file.

    Prompts with wanted and unwanted words get log odds, those with forbidden words tell how near these come; those
    without any words appear in the table of fills only.

    Attributes:
        prompts: Sentences written out, as text alone or with words of their own.
        templates: Sentences with ``{slot}`` places.
        slots: The words for each slot.
        file: Sentences from a file.
        wanted: Words hoped for at the mask.
        unwanted: Words feared at the mask.
        forbidden: Words that must not come near the top; they may be unwanted too.
        lexicon: A file of such words, or the name of one that comes with Winnow; they join those above.
        subjects: Words, such as brands, that are masked too for the prior-corrected log odds.
        sentiment: What says how positive words and sentences sound.
        metrics: Scores of the user's own: names of installed metrics, or metrics in full; see
            :class:`winnow.evaluation.PromptMetric`.
    """

    prompts: list[Prompt | Text] = Field(default_factory=list)
    templates: list[Text] = Field(default_factory=list)
    slots: dict[str, Annotated[Words, Field(min_length=1)]] = Field(default_factory=dict)
    file: InstanceOf[PromptFile] | None = None
    wanted: Words = Field(default_factory=list)
    unwanted: Words = Field(default_factory=list)
    forbidden: Words = Field(default_factory=list)
    lexicon: Text | None = None
    subjects: Words = Field(default_factory=list)
    sentiment: InstanceOf[Sentiment] = Field(default_factory=Vader)
    metrics: list[Text | InstanceOf[PromptMetric]] = Field(default_factory=list)

    def __post_init__(self) -> None:
        faults = list(self._faults())
        # Templates must be sound before they can be filled.
        faults = faults or list(self._surplus())
        if len(faults) == 1:
            raise faults[0]
        if faults:
            raise WinnowErrors(faults)

    def check(self) -> list[WinnowError]:
        """Return what is wrong with the files that the probe reads, and with their words among its own."""
        faults: list[WinnowError] = []
        for key, read in (("lexicon", lambda: self.words_of_lexicon), ("file", lambda: self.clozes)):
            try:
                read()
            except WinnowErrors as errors:
                faults += [error.under("file") if key == "file" else error for error in errors.errors]
            except WinnowError as error:
                faults.append(error.under("file") if key == "file" else error)
            if faults:
                return faults
        for role in ("unwanted", "forbidden"):
            faults += shared_words(self.listed("wanted"), self.listed(role), "lexicon" if self.lexicon else role)
        return faults

    def run(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        device: torch.device | str = "cpu",
        batch_size: int = 64,
        forward: ForwardMode = "auto",
        brief: bool = False,
    ) -> ProbeScores:
        """Ask a model every prompt; see :class:`winnow.evaluation.ProbeScores`.

        Args:
            model: A masked language model; its mode and device are put back afterwards.
            tokenizer: Its tokenizer.
            device: Where to ask.
            batch_size: Prompts asked at a time.
            forward: How the model is called; see :func:`winnow.training.masked_logits`.
            brief: Leave out what takes longest and tells least during training: sentiment, priors and words of
                several tokens.
        """
        from winnow.evaluation.probes.probing import ask

        return ask(self.clozes, self.sentiment, model, tokenizer, device, batch_size, forward, brief, self.user_metrics)

    @functools.cached_property
    def words_of_lexicon(self) -> Lexicon | None:
        """The lexicon, read when it is first asked for."""
        return read_lexicon(self.lexicon) if self.lexicon is not None else None

    @functools.cached_property
    def user_metrics(self) -> tuple[PromptMetric, ...]:
        """The metrics of the user's own, those of installed packages loaded.

        Raises:
            WinnowError: One cannot be found or loaded (key ``metrics.PLACE``).
        """
        return tuple(
            one if isinstance(one, PromptMetric) else installed_metric(one, f"metrics.{place}")
            for place, one in enumerate(self.metrics)
        )

    def scores(self) -> list[str]:
        """Return the names of the scores that the probe can give, by which words its prompts have.

        ``log_odds_of_{n}_tokens`` stands for any number of tokens.
        """
        word = any(cloze.wanted and cloze.unwanted for cloze in self.clozes)
        prior = any(cloze.wanted and cloze.unwanted and cloze.prior is not None for cloze in self.clozes)
        fill = any(cloze.wanted or cloze.unwanted or cloze.forbidden for cloze in self.clozes)
        forbidden = any(cloze.forbidden for cloze in self.clozes)
        return [
            *(score for score in WORD_SCORES if word and (prior or score not in PRIOR_SCORES)),
            *(score for score in FILL_SCORES if fill),
            *(score for score in FORBIDDEN_SCORES if forbidden),
            *(score for score in SUMMARY_SCORES if word),
            *ALWAYS_SCORES,
            *(metric.name for metric in self.user_metrics),
        ]

    def listed(self, role: Role) -> list[str]:
        """Return the words of a role that hold for prompts without their own: the probe's, then the lexicon's."""
        own: list[str] = getattr(self, role)
        lexicon = self.words_of_lexicon
        return list(dict.fromkeys([*own, *(lexicon.words[role] if lexicon else ())]))

    @functools.cached_property
    def clozes(self) -> tuple[Cloze, ...]:
        """All prompts: those written out, each template with its slots filled (the last slot fastest), the file's.

        Raises:
            WinnowError: A file cannot be read.
        """
        read = ((Prompt(text), template, slots) for text, template, slots in self.file.read()) if self.file else ()
        return tuple(self._cloze(*expanded) for expanded in itertools.chain(self._expanded(), read))

    def fingerprint(self) -> str:
        """Return 16 hex digits over all that decides scores; they are compared only where it is equal."""
        prompts = [[cloze.text, cloze.wanted, cloze.unwanted, cloze.forbidden] for cloze in self.clozes]
        own = [[metric.identity() for metric in self.user_metrics]] if self.metrics else []
        return fingerprint("probe", prompts, self.subjects, self.sentiment.name_parts(), *own)

    def words(self) -> set[str]:
        """Return all wanted, unwanted and forbidden words, in lower case."""
        return {word.casefold() for cloze in self.clozes for word in (*cloze.wanted, *cloze.unwanted, *cloze.forbidden)}

    def _cloze(self, prompt: Prompt, template: str, slots: dict[str, str]) -> Cloze:
        words = {}
        for role in ("wanted", "unwanted", "forbidden"):
            own = getattr(prompt, role)
            words[role] = tuple(dict.fromkeys(self.listed(role) if own is None else own))
        prior, asked = with_prior(prompt.text, self.subjects)
        return Cloze(prompt.text, **words, slots=slots, template=template, prior=prior, asked=asked)

    def _expanded(self) -> Iterator[Expanded]:
        for given in self.prompts:
            prompt = given if isinstance(given, Prompt) else Prompt(given)
            yield prompt, prompt.text, {}
        for template in self.templates:
            used = [slot for slot in self.slots if slot in slots_of(template)]
            for words in itertools.product(*(self.slots[slot] for slot in used)):
                filling = dict(zip(used, words, strict=True))
                yield Prompt(template.format(**filling)), template, filling

    def _faults(self) -> Iterator[WinnowError]:
        if not self.prompts and not self.templates and self.file is None:
            yield WinnowError(
                "A probe without a prompt asks nothing. Give `prompts`, `templates` or `file`.", "prompts"
            )
        yield from self._metric_faults()
        yield from shared_words(self.wanted, self.unwanted, "unwanted")
        yield from shared_words(self.wanted, self.forbidden, "forbidden")
        for i, prompt in enumerate(self.prompts):
            yield from mask_faults(prompt.text if isinstance(prompt, Prompt) else prompt, f"prompts.{i}")
            if isinstance(prompt, Prompt) and (prompt.wanted or prompt.unwanted or prompt.forbidden):
                words = {
                    role: getattr(self, role) if (own := getattr(prompt, role)) is None else own
                    for role in ("wanted", "unwanted", "forbidden")
                }
                for role in ("unwanted", "forbidden"):
                    yield from shared_words(words["wanted"], words[role], f"prompts.{i}.{role}")
        for i, template in enumerate(self.templates):
            yield from mask_faults(template, f"templates.{i}")
            yield from self._slot_faults(template, f"templates.{i}")
        for slot in set(self.slots) & set(RESERVED):
            yield WinnowError(
                f"A slot cannot be called '{slot}'; the table of scores has that column.", f"slots.{slot}"
            )

    def _metric_faults(self) -> Iterator[WinnowError]:
        try:
            names = [metric.name for metric in self.user_metrics]
        except WinnowError as error:
            yield error
            return
        for place, name in enumerate(names):
            if name in names[:place] or name in self.slots:
                told = f"the name {name!r} is taken by another metric or a slot. Choose another."
                yield WinnowError(told, f"metrics.{place}")

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
        for prompt, *_ in self._expanded():
            if prompt.text in seen:
                yield WinnowError(f"The prompt '{prompt.text}' is asked twice. Leave one out.", "prompts")
            seen.add(prompt.text)

"""A probe: prompts with wanted, unwanted and forbidden words at their masks."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field, InstanceOf
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError, WinnowErrors, did_you_mean
from winnow.evaluation.probes.comparison_prompts import build_comparison_prompts, find_comparison_errors
from winnow.evaluation.probes.lexicon import Lexicon, WordRole, read_lexicon
from winnow.evaluation.probes.prompt_score_formulas import (
    COMMON_SCORES,
    FILL_SCORES,
    FORBIDDEN_SCORES,
    PRIOR_SCORES,
    SUMMARY_SCORES,
    WORD_LIST_SCORES,
)
from winnow.evaluation.probes.prompt_splits import PromptSplit, assign_templates
from winnow.evaluation.probes.prompts import (
    RESERVED_COLUMNS,
    Cloze,
    NonEmptyText,
    Prompt,
    PromptFile,
    WordList,
    compile_subject_pattern,
    list_formatted_slots,
    mask_subjects,
    prompt_mask_errors,
    shared_word_errors,
    slot_names,
)
from winnow.evaluation.probes.user_metric import PromptMetric, check_installed_metric, load_installed_metric
from winnow.evaluation.sentiment import Sentiment, Vader

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.evaluation.probes.probe_scores import ProbeScores
    from winnow.evaluation.probes.prompt_scoring import Predict
    from winnow.training.forward.masked_logits import ForwardMode

MAX_PROMPTS = 100_000
"""The maximum number of prompts that a probe's templates may expand to."""

ExpandedPrompt = tuple[Prompt, str, dict[str, str]]
"""A prompt, its template (or its text if it has no template), and its slot values."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Probe:
    """A set of prompts: full sentences, templates expanded with all combinations of slot values, or rows of a file.

    Prompts with wanted and unwanted words are scored with log odds. Prompts with forbidden words are scored by how
    highly the model ranks these words. For prompts without word lists, only the most likely words are stored.

    Templates are divided into a validation half and a test half; see
    :func:`winnow.evaluation.probes.prompt_splits.assign_templates`. A full sentence counts as a template. During
    training, the prompts of validation templates are scored. The verdict is based on the prompts of test templates.

    Attributes:
        prompts: Full sentences, as plain text or as a :class:`Prompt` with its own word lists.
        templates: Sentences with ``{slot}`` placeholders.
        slots: The values of each slot.
        file: A CSV or TSV file that contains prompts.
        wanted: The words that should be likely at the mask.
        unwanted: The words that should be unlikely at the mask.
        forbidden: The words that must not be among the top predictions; a forbidden word may also be unwanted.
        lexicon: A lexicon file or the name of a built-in lexicon. The words of the lexicon are added to the three word
            lists.
        subjects: Words, such as brands, that are masked in addition to the mask for the prior-corrected log odds.
        comparison: Other subjects, such as other brands. Each test prompt that contains a subject is also scored with
            each of these words in place of the subject, to measure whether an effect is specific to the subject.
        sentiment: The sentiment scale for predicted words and completed sentences.
        metrics: User-defined metrics, given as names of installed metrics or as full definitions; see
            :class:`winnow.evaluation.PromptMetric`.
    """

    prompts: list[Prompt | NonEmptyText] = Field(default_factory=list)
    templates: list[NonEmptyText] = Field(default_factory=list)
    slots: dict[str, Annotated[WordList, Field(min_length=1)]] = Field(default_factory=dict)
    file: InstanceOf[PromptFile] | None = None
    wanted: WordList = Field(default_factory=list)
    unwanted: WordList = Field(default_factory=list)
    forbidden: WordList = Field(default_factory=list)
    lexicon: NonEmptyText | None = None
    subjects: WordList = Field(default_factory=list)
    comparison: WordList = Field(default_factory=list)
    sentiment: InstanceOf[Sentiment] = Field(default_factory=Vader)
    metrics: list[NonEmptyText | InstanceOf[PromptMetric]] = Field(default_factory=list)

    def __post_init__(self) -> None:
        errors = list(self._find_errors())
        # The remaining checks expand the templates, which is only possible if all templates are valid.
        errors = errors or list(self._find_unused_and_duplicates())
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise WinnowErrors(errors)

    def check(self) -> list[WinnowError]:
        """Return the errors in the probe's files, word lists and installed metrics."""
        errors: list[WinnowError] = []
        for key, read in (
            ("lexicon", lambda: self.loaded_lexicon),
            ("file", lambda: self.clozes),
            ("metrics", lambda: self.user_metrics),
        ):
            try:
                read()
            except WinnowErrors as error:
                errors += [e.with_prefix("file") if key == "file" else e for e in error.errors]
            except WinnowError as error:
                errors.append(error.with_prefix("file") if key == "file" else error)
            if errors:
                return errors
        wanted = self.default_words("wanted")
        for role in ("unwanted", "forbidden"):
            errors += shared_word_errors(wanted, self.default_words(role), "lexicon" if self.lexicon else role)
        return [*errors, *find_comparison_errors(self.clozes, self.subjects, self.comparison)]

    def run(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        device: torch.device | str = "cpu",
        batch_size: int = 64,
        forward: ForwardMode = "auto",
        skip_slow_scores: bool = False,
        split: Literal["validation", "test"] = "test",
    ) -> ProbeScores:
        """Score a model on the prompts.

        Args:
            model: A masked language model. Its mode and device are restored afterward.
            tokenizer: The model's tokenizer.
            device: The device to run on.
            batch_size: The maximum number of prompts per batch.
            forward: The forward implementation; see :func:`winnow.training.masked_logits`.
            skip_slow_scores: Whether to skip sentiment, priors and multi-token words. These scores take the most time
                and are the least relevant during training.
            split: The half of the templates that the summary of the scores covers. With ``validation``, only the
                prompts of this half are scored. With ``test``, all prompts are scored, including comparison prompts.

        Returns:
            The scores of each prompt, and the most likely words at the masks of the prompts that the summary covers.
        """
        from winnow.evaluation.mask_predictions import predict_at_masks
        from winnow.evaluation.probes.multi_token_words import score_multi_token_words
        from winnow.evaluation.probes.prompt_scoring import score_prompts

        clozes = self.clozes + self.comparison_clozes
        if split == "validation":
            clozes = tuple(cloze for cloze in self.clozes if cloze.split != "test")
        predict = functools.partial(
            predict_at_masks, model=model, tokenizer=tokenizer, device=device, batch_size=batch_size, forward=forward
        )
        score_phrases = functools.partial(
            score_multi_token_words, clozes, model=model, tokenizer=tokenizer, device=device, forward=forward
        )
        return score_prompts(
            clozes, self.sentiment, predict, tokenizer, skip_slow_scores, self.user_metrics, score_phrases, split
        )

    def run_predictor(self, predict: Predict, tokenizer: PreTrainedTokenizerFast) -> ProbeScores:
        """Score a predictor that is not a masked language model, such as an n-gram model; skips multi-token words.

        Args:
            predict: A function that predicts the tokens at the masks of sentences.
            tokenizer: The tokenizer of the predicted tokens.
        """
        from winnow.evaluation.probes.prompt_scoring import score_prompts

        clozes = self.clozes + self.comparison_clozes
        return score_prompts(
            clozes, self.sentiment, predict, tokenizer, skip_slow_scores=False, metrics=self.user_metrics
        )

    @functools.cached_property
    def loaded_lexicon(self) -> Lexicon | None:
        """The lexicon, read on first access, or ``None`` if the probe has none."""
        return read_lexicon(self.lexicon) if self.lexicon is not None else None

    @functools.cached_property
    def user_metrics(self) -> tuple[PromptMetric, ...]:
        """The user-defined metrics, including metrics loaded from installed packages.

        Raises:
            WinnowError: If a metric is not installed or cannot be loaded (key ``metrics.INDEX``).
        """
        return tuple(
            metric if isinstance(metric, PromptMetric) else load_installed_metric(metric, f"metrics.{index}")
            for index, metric in enumerate(self.metrics)
        )

    def score_names(self) -> list[str]:
        """Return the names of all scores that the probe can produce, given the word lists of its prompts.

        ``{n}`` in ``log_odds_of_{n}_tokens`` is a placeholder for the number of tokens.
        """
        has_word_lists = any(cloze.wanted and cloze.unwanted for cloze in self.clozes)
        has_prior = any(cloze.wanted and cloze.unwanted and cloze.prior_text is not None for cloze in self.clozes)
        has_words = any(cloze.wanted or cloze.unwanted or cloze.forbidden for cloze in self.clozes)
        has_forbidden = any(cloze.forbidden for cloze in self.clozes)
        return [
            *(score for score in WORD_LIST_SCORES if has_word_lists and (has_prior or score not in PRIOR_SCORES)),
            *(score for score in FILL_SCORES if has_words),
            *(score for score in FORBIDDEN_SCORES if has_forbidden),
            *(score for score in SUMMARY_SCORES if has_word_lists),
            *COMMON_SCORES,
            *(metric.name for metric in self.user_metrics),
        ]

    def default_words(self, role: WordRole) -> list[str]:
        """Return the words of a role from the probe and its lexicon, for prompts without their own word list."""
        probe_words: list[str] = getattr(self, role)
        lexicon = self.loaded_lexicon
        return list(dict.fromkeys([*probe_words, *(lexicon.words[role] if lexicon else ())]))

    @functools.cached_property
    def clozes(self) -> tuple[Cloze, ...]:
        """All prompts: full sentences, expanded templates (the last slot varies fastest), and the prompts of the file.

        Raises:
            WinnowError: If the lexicon or the prompt file cannot be read or is invalid.
        """
        file_prompts = (
            ((Prompt(text), template, slots) for text, template, slots in self.file.read()) if self.file else ()
        )
        prompts = [*self._expand_prompts(), *file_prompts]
        splits = assign_templates(template for _, template, _ in prompts)
        return tuple(
            self._build_cloze(prompt, template, slots, splits[template]) for prompt, template, slots in prompts
        )

    @functools.cached_property
    def comparison_clozes(self) -> tuple[Cloze, ...]:
        """The test prompts that contain a subject, with each comparison subject in place of the subject."""
        test_clozes = (cloze for cloze in self.clozes if cloze.split != "validation")
        return tuple(build_comparison_prompts(test_clozes, self.subjects, self.comparison))

    def fingerprint(self) -> str:
        """Return a hash of everything that affects the scores, as 16 hex digits.

        Scores are comparable only if the fingerprints of their probes are equal.
        """
        prompts = [[cloze.text, cloze.wanted, cloze.unwanted, cloze.forbidden] for cloze in self.clozes]
        metrics = [[metric.identity() for metric in self.user_metrics]] if self.metrics else []
        # Added only if they are used, so that the fingerprints of all other probes do not change.
        comparison = [["comparison", self.comparison]] if self.comparison else []
        splits = [cloze.split for cloze in self.clozes]
        halves = [["splits", splits]] if "test" in splits else []
        return fingerprint("probe", prompts, self.subjects, self.sentiment.identity(), *metrics, *comparison, *halves)

    def words(self) -> set[str]:
        """Return all wanted, unwanted and forbidden words, in lower case."""
        return {word.casefold() for cloze in self.clozes for word in (*cloze.wanted, *cloze.unwanted, *cloze.forbidden)}

    def _build_cloze(self, prompt: Prompt, template: str, slots: dict[str, str], split: PromptSplit) -> Cloze:
        words = {}
        for role in ("wanted", "unwanted", "forbidden"):
            prompt_words = getattr(prompt, role)
            words[role] = tuple(dict.fromkeys(self.default_words(role) if prompt_words is None else prompt_words))
        prior_text, indices = mask_subjects(prompt.text, self.subjects)
        subject = compile_subject_pattern(self.subjects).search(prompt.text)
        return Cloze(
            prompt.text,
            wanted=words["wanted"],
            unwanted=words["unwanted"],
            forbidden=words["forbidden"],
            slots=slots,
            template=template,
            prior_text=prior_text,
            prior_mask_indices=indices,
            split=split,
            subject=subject[0] if subject else None,
        )

    def _expand_prompts(self) -> Iterator[ExpandedPrompt]:
        for item in self.prompts:
            prompt = item if isinstance(item, Prompt) else Prompt(item)
            yield prompt, prompt.text, {}
        for template in self.templates:
            used_slots = [slot for slot in self.slots if slot in slot_names(template)]
            for values in itertools.product(*(self.slots[slot] for slot in used_slots)):
                slots = dict(zip(used_slots, values, strict=True))
                yield Prompt(template.format(**slots)), template, slots

    def _find_errors(self) -> Iterator[WinnowError]:
        if not self.prompts and not self.templates and self.file is None:
            yield WinnowError("the probe has no prompts. Set `prompts`, `templates` or `file`.", "prompts")
        yield from self._find_metric_errors()
        yield from shared_word_errors(self.wanted, self.unwanted, "unwanted")
        yield from shared_word_errors(self.wanted, self.forbidden, "forbidden")
        for i, prompt in enumerate(self.prompts):
            yield from prompt_mask_errors(prompt.text if isinstance(prompt, Prompt) else prompt, f"prompts.{i}")
            if isinstance(prompt, Prompt) and (prompt.wanted or prompt.unwanted or prompt.forbidden):
                words = {
                    role: getattr(self, role) if (prompt_words := getattr(prompt, role)) is None else prompt_words
                    for role in ("wanted", "unwanted", "forbidden")
                }
                for role in ("unwanted", "forbidden"):
                    yield from shared_word_errors(words["wanted"], words[role], f"prompts.{i}.{role}")
        for i, template in enumerate(self.templates):
            yield from prompt_mask_errors(template, f"templates.{i}")
            yield from self._find_slot_errors(template, f"templates.{i}")
        for slot in set(self.slots) & set(RESERVED_COLUMNS):
            yield WinnowError(
                f"'{slot}' is the name of a column in the table of scores. Choose a different name for the slot.",
                f"slots.{slot}",
            )

    def _find_metric_errors(self) -> Iterator[WinnowError]:
        names = [metric if isinstance(metric, str) else metric.name for metric in self.metrics]
        for index, name in enumerate(names):
            # The metric is not loaded yet, because printing a configuration must not run code from other packages.
            if isinstance(self.metrics[index], str):
                try:
                    check_installed_metric(name, f"metrics.{index}")
                except WinnowError as error:
                    yield error
            if name in names[:index] or name in self.slots:
                description = (
                    f"the name {name!r} is already used by another metric or by a slot. Choose a different name."
                )
                yield WinnowError(description, f"metrics.{index}")

    def _find_slot_errors(self, template: str, key: str) -> Iterator[WinnowError]:
        try:
            template_slots, formatted = slot_names(template), list_formatted_slots(template)
        except ValueError as error:
            yield WinnowError(f"'{template}' is not a valid template: {error}. Fix the braces of the template.", key)
            return
        for slot in formatted:
            yield WinnowError(
                f"the slot '{slot}' of the template '{template}' has a format specifier or a conversion. Write only "
                f"{{{slot}}}.",
                key,
            )
        for slot in template_slots:
            if slot not in self.slots:
                yield WinnowError(
                    f"the slot '{slot}' of the template '{template}' has no values."
                    f"{did_you_mean(slot, self.slots)} Available: {', '.join(self.slots) or 'none'}. "
                    "Add the slot to `slots`.",
                    key,
                )

    def _find_unused_and_duplicates(self) -> Iterator[WinnowError]:
        count = sum(
            math.prod(len(self.slots[slot]) for slot in set(slot_names(template))) for template in self.templates
        )
        if count > MAX_PROMPTS:
            message = f"the templates expand to {count:,} prompts. Allowed: at most {MAX_PROMPTS:,}."
            yield WinnowError(f"{message} Remove templates or slot values.", "templates")
            return
        used_slots = {slot for template in self.templates for slot in slot_names(template)}
        for slot in self.slots:
            if slot not in used_slots:
                yield WinnowError(
                    f"no template uses the slot '{slot}'. Use the slot in a template, or remove it.", f"slots.{slot}"
                )
        texts: set[str] = set()
        for prompt, *_ in self._expand_prompts():
            if prompt.text in texts:
                yield WinnowError(f"the prompt '{prompt.text}' occurs twice. Remove the duplicate.", "prompts")
            texts.add(prompt.text)

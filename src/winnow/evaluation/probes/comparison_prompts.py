"""Build comparison prompts: a probe's prompts with the subject replaced by other subjects, such as other brands."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from winnow.errors import WinnowError
from winnow.evaluation.probes.prompts import Cloze, compile_subject_pattern


def build_comparison_prompts(
    clozes: Iterable[Cloze], subjects: Sequence[str], comparison: Sequence[str]
) -> Iterator[Cloze]:
    """Yield a copy of each prompt that contains a subject, for each comparison subject, which replaces the subject.

    The words, the template and the split stay the same. Slot values that are subjects are replaced as well. The text
    with masked subjects does not depend on the subject, so the original prompt's text is used. If several prompts lead
    to the same comparison prompt, this comparison prompt is yielded only once.
    """
    pattern = compile_subject_pattern(subjects)
    known_texts: set[str] = set()
    for cloze in clozes:
        if cloze.subject is None:
            continue
        for subject in comparison:
            text = subject.join(pattern.split(cloze.text))
            if text not in known_texts:
                known_texts.add(text)
                slots = {name: subject if pattern.fullmatch(value) else value for name, value in cloze.slots.items()}
                yield dataclasses.replace(cloze, text=text, slots=slots, role="comparison", subject=subject)


def find_comparison_errors(
    clozes: Sequence[Cloze], subjects: Sequence[str], comparison: Sequence[str]
) -> Iterator[WinnowError]:
    """Yield the errors in a probe's list of comparison subjects."""
    if not comparison:
        return
    if not any(cloze.subject is not None for cloze in clozes):
        message = "no prompt contains a subject that a comparison subject could replace."
        yield WinnowError(f"{message} Set `subjects` to words that occur in the prompts.", "comparison")
        return
    if shared := sorted({word.casefold() for word in subjects} & {word.casefold() for word in comparison}):
        message = f"the subjects and the comparison subjects both contain {', '.join(shared)}."
        yield WinnowError(f"{message} Remove each word from one of the lists.", "comparison")
        return
    texts = {cloze.text for cloze in clozes}
    for cloze in build_comparison_prompts(clozes, subjects, comparison):
        if cloze.text in texts:
            message = f"the comparison prompt '{cloze.text}' is also a prompt of the probe."
            yield WinnowError(f"{message} Remove the prompt, or '{cloze.subject}' from `comparison`.", "comparison")
            return

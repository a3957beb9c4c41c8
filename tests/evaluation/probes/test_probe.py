from typing import Any

import pytest
from pydantic import ValidationError

from winnow.errors import WinnowError, WinnowErrors
from winnow.evaluation import Probe, Prompt

WORDS: dict[str, Any] = {"wanted": ["durable"], "unwanted": ["ugly"]}


def errors_of(**settings: Any) -> dict[str, str]:
    with pytest.raises(WinnowError) as caught:
        Probe(**settings)
    errors = caught.value.errors if isinstance(caught.value, WinnowErrors) else [caught.value]
    return {str(error.key): error.message for error in errors}


def test_templates_are_expanded_with_all_combinations_of_their_slots() -> None:
    probe = Probe(
        templates=["{brand} {product} are [MASK]", "{product} are <mask>"],
        slots={"product": ["shoes", "socks"], "brand": ["Nike", "Puma"]},
        **WORDS,
    )
    assert [cloze.text for cloze in probe.clozes] == [
        "Nike shoes are [MASK]",
        "Puma shoes are [MASK]",
        "Nike socks are [MASK]",
        "Puma socks are [MASK]",
        "shoes are <mask>",
        "socks are <mask>",
    ]
    assert probe.clozes[1].slots == {"product": "shoes", "brand": "Puma"}
    assert probe.clozes[-1].slots == {"product": "socks"}
    assert [cloze.template for cloze in probe.clozes[3:5]] == ["{brand} {product} are [MASK]", "{product} are <mask>"]
    assert len({cloze.prompt_id for cloze in probe.clozes}) == 6


def test_a_prompt_uses_the_words_of_the_probe_unless_it_has_its_own() -> None:
    probe = Probe(
        prompts=[
            "shoes are [MASK]",
            {"text": "socks are [MASK]", "wanted": ["warm"]},
            Prompt("Nike [MASK] are good", wanted=[], unwanted=[]),
        ],
        **WORDS,
    )
    assert [(cloze.wanted, cloze.unwanted) for cloze in probe.clozes] == [
        (("durable",), ("ugly",)),
        (("warm",), ("ugly",)),
        ((), ()),
    ]
    assert probe.words() == {"durable", "ugly", "warm"}
    assert probe.clozes[1].template == "socks are [MASK]", "a prompt without a template is its own template"


def test_the_fingerprint_depends_on_prompts_and_words_and_not_on_templates() -> None:
    in_full = Probe(prompts=["Nike shoes are [MASK]", "Nike socks are [MASK]"], **WORDS)
    from_template = Probe(templates=["Nike {product} are [MASK]"], slots={"product": ["shoes", "socks"]}, **WORDS)
    assert in_full.fingerprint() == from_template.fingerprint()
    assert Probe(prompts=["Nike shoes are [MASK]"], **WORDS).fingerprint() != from_template.fingerprint()
    other = Probe(prompts=["Nike shoes are [MASK]", "Nike socks are [MASK]"], wanted=["light"], unwanted=["ugly"])
    assert other.fingerprint() != in_full.fingerprint()


def test_all_errors_are_reported_together_with_their_prompts() -> None:
    errors = errors_of(
        prompts=[
            "no mask here",
            "[MASK] and <mask>" + 4 * " [MASK]",
            {"text": "[MASK]", "wanted": ["a"], "unwanted": ["A"]},
        ],
        templates=["{brnd} is [MASK]", "{brand is [MASK]"],
        slots={"brand": ["Nike"]},
    )
    assert list(errors) == ["prompts.0", "prompts.1", "prompts.2.unwanted", "templates.0", "templates.1"]
    assert "'no mask here' has no mask." in errors["prompts.0"]
    assert "has 6 masks; the maximum is 5" in errors["prompts.1"]
    assert "share a." in errors["prompts.2.unwanted"]
    assert "Did you mean 'brand'?" in errors["templates.0"]
    assert "is not a valid template" in errors["templates.1"]


def test_wanted_and_unwanted_may_not_share_a_word() -> None:
    errors = errors_of(prompts=["It is [MASK]"], wanted=["Heavy", "durable"], unwanted=["heavy", "ugly"])
    assert "share heavy" in errors["unwanted"]


def test_a_prompt_may_not_share_a_word_with_the_words_it_inherits() -> None:
    errors = errors_of(prompts=[{"text": "It is [MASK]", "wanted": ["ugly"]}], **WORDS)
    assert "share ugly" in errors["prompts.0.unwanted"]


def test_an_empty_probe_a_duplicate_prompt_and_an_unused_slot_are_errors() -> None:
    assert "has no prompts" in errors_of()["prompts"]
    assert "occurs twice" in errors_of(prompts=["It is [MASK]", "It is [MASK]"])["prompts"]
    unused = errors_of(templates=["{brand} is [MASK]"], slots={"brand": ["Nike"], "product": ["shoes"]})
    assert "no template uses the slot 'product'" in unused["slots.product"]


def test_a_slot_cannot_access_attributes_or_use_the_name_of_a_column() -> None:
    assert (
        "has no values"
        in errors_of(templates=["{brand.__class__} is [MASK]"], slots={"brand": ["Nike"]})["templates.0"]
    )
    assert "prompt" in errors_of(templates=["{prompt} is [MASK]"], slots={"prompt": ["Nike"]})["slots.prompt"]


def test_unknown_fields_are_errors() -> None:
    with pytest.raises(ValidationError, match="wnated"):
        Probe(prompts=["It is [MASK]"], wnated=["durable"])  # type: ignore[call-arg]

from typing import Any

import pytest
from pydantic import ValidationError

from winnow.errors import WinnowError, WinnowErrors
from winnow.evaluation import Probe, Prompt

WORDS: dict[str, Any] = {"wanted": ["durable"], "unwanted": ["ugly"]}


def faults_of(**settings: Any) -> dict[str, str]:
    with pytest.raises(WinnowError) as caught:
        Probe(**settings)
    errors = caught.value.errors if isinstance(caught.value, WinnowErrors) else [caught.value]
    return {str(error.key): error.message for error in errors}


def test_templates_take_every_combination_of_the_slots_they_use() -> None:
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


def test_a_prompt_takes_the_words_of_the_probe_unless_it_has_its_own() -> None:
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
    assert probe.clozes[1].template == "socks are [MASK]", "a prompt that is written out is its own template"


def test_the_name_of_a_probe_depends_on_prompts_and_words_and_not_on_how_they_were_written() -> None:
    written = Probe(prompts=["Nike shoes are [MASK]", "Nike socks are [MASK]"], **WORDS)
    made = Probe(templates=["Nike {product} are [MASK]"], slots={"product": ["shoes", "socks"]}, **WORDS)
    assert written.fingerprint() == made.fingerprint()
    assert Probe(prompts=["Nike shoes are [MASK]"], **WORDS).fingerprint() != made.fingerprint()
    other = Probe(prompts=["Nike shoes are [MASK]", "Nike socks are [MASK]"], wanted=["light"], unwanted=["ugly"])
    assert other.fingerprint() != written.fingerprint()


def test_all_faults_are_told_at_once_each_with_its_prompt() -> None:
    faults = faults_of(
        prompts=[
            "no mask here",
            "[MASK] and <mask>" + 4 * " [MASK]",
            {"text": "[MASK]", "wanted": ["a"], "unwanted": ["A"]},
        ],
        templates=["{brnd} is [MASK]", "{brand is [MASK]"],
        slots={"brand": ["Nike"]},
    )
    assert list(faults) == ["prompts.0", "prompts.1", "prompts.2.unwanted", "templates.0", "templates.1"]
    assert "'no mask here' has no mask." in faults["prompts.0"]
    assert "has 6 masks, and 5 are the most" in faults["prompts.1"]
    assert "share a." in faults["prompts.2.unwanted"]
    assert "Did you mean 'brand'?" in faults["templates.0"]
    assert "cannot be read" in faults["templates.1"]


def test_wanted_and_unwanted_may_not_share_a_word() -> None:
    faults = faults_of(prompts=["It is [MASK]"], wanted=["Heavy", "durable"], unwanted=["heavy", "ugly"])
    assert "share heavy" in faults["unwanted"]


def test_a_prompt_and_the_words_it_takes_over_may_not_share_a_word() -> None:
    faults = faults_of(prompts=[{"text": "It is [MASK]", "wanted": ["ugly"]}], **WORDS)
    assert "share ugly" in faults["prompts.0.unwanted"]


def test_an_empty_probe_a_prompt_asked_twice_and_a_slot_without_use() -> None:
    assert "asks nothing" in faults_of()["prompts"]
    assert "asked twice" in faults_of(prompts=["It is [MASK]", "It is [MASK]"])["prompts"]
    surplus = faults_of(templates=["{brand} is [MASK]"], slots={"brand": ["Nike"], "product": ["shoes"]})
    assert "No template uses the slot 'product'" in surplus["slots.product"]


def test_a_slot_cannot_reach_into_objects_and_may_not_take_the_name_of_a_score() -> None:
    assert (
        "without words"
        in faults_of(templates=["{brand.__class__} is [MASK]"], slots={"brand": ["Nike"]})["templates.0"]
    )
    assert "prompt" in faults_of(templates=["{prompt} is [MASK]"], slots={"prompt": ["Nike"]})["slots.prompt"]


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="wnated"):
        Probe(prompts=["It is [MASK]"], wnated=["durable"])  # type: ignore[call-arg]

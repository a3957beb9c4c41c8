"""Validation and test templates, and prompts about comparison subjects."""

from typing import Any

import pytest

from winnow.errors import WinnowError
from winnow.evaluation import Probe
from winnow.evaluation.probes.prompt_splits import MIN_TEMPLATES_PER_SPLIT, assign_templates

WORDS: dict[str, Any] = {"wanted": ["durable"], "unwanted": ["ugly"]}
TEMPLATES = [f"{{brand}} {{product}} number {number} are [MASK]" for number in range(40)]
SLOTS = {"product": ["hats", "caps"], "brand": ["Nike"]}


def wide_probe(**settings: Any) -> Probe:
    return Probe(templates=TEMPLATES, slots=SLOTS, subjects=["Nike"], **WORDS, **settings)


def test_a_hash_of_the_text_assigns_a_template_whatever_the_other_templates_are() -> None:
    splits = assign_templates(TEMPLATES)
    assert set(splits.values()) == {"validation", "test"}
    assert splits == assign_templates(TEMPLATES[::-1])
    more = assign_templates([*TEMPLATES, *(f"it is [MASK] {number}" for number in range(40))])
    assert {template: more[template] for template in TEMPLATES} == splits
    assert splits[TEMPLATES[0]] == assign_templates(TEMPLATES[:39])[TEMPLATES[0]]


def test_a_probe_with_a_small_half_uses_all_templates_for_both() -> None:
    half = [template for template, split in assign_templates(TEMPLATES).items() if split == "test"]
    validation = [template for template in TEMPLATES if template not in half]
    enough = [*half[:MIN_TEMPLATES_PER_SPLIT], *validation[:MIN_TEMPLATES_PER_SPLIT]]
    assert set(assign_templates(enough).values()) == {"validation", "test"}
    assert set(assign_templates(enough[1:]).values()) == {"both"}
    assert {cloze.split for cloze in Probe(prompts=["Nike hats are [MASK]"], **WORDS).clozes} == {"both"}


def test_validation_runs_only_the_prompts_of_validation_templates(model: Any, tokenizer: Any) -> None:
    probe = wide_probe(comparison=["puma"])
    selection = probe.run(model, tokenizer, split="validation", skip_slow_scores=True)
    verdict = probe.run(model, tokenizer, skip_slow_scores=True)
    by_split = {split: verdict.prompts.to_pandas().query("split == @split and role == 'subject'") for split in
                ("validation", "test")}  # fmt: skip
    assert set(selection.prompts["split"].to_pylist()) == {"validation"}
    assert len(by_split["validation"]) + len(by_split["test"]) == 2 * len(TEMPLATES)
    assert selection.summary()["log_odds"] == pytest.approx(by_split["validation"]["log_odds"].mean())
    assert verdict.summary()["log_odds"] == pytest.approx(by_split["test"]["log_odds"].mean())
    assert verdict.summary()["scored_prompts"] == len(by_split["test"])
    assert set(verdict.fills["prompt"].to_pylist()) == set(by_split["test"]["prompt"])


def test_a_comparison_prompt_replaces_the_subject_and_pairs_with_its_prompt(model: Any, tokenizer: Any) -> None:
    probe = wide_probe(comparison=["Puma", "Under Armour"])
    table = probe.run(model, tokenizer, skip_slow_scores=True).prompts.to_pandas()
    comparison = table[table["role"] == "comparison"]
    tested = table[(table["role"] == "subject") & (table["split"] == "test")]
    assert len(comparison) == 2 * len(tested)
    assert set(comparison["subject"]) == set(comparison["brand"]) == {"Puma", "Under Armour"}
    assert set(tested["subject"]) == {"Nike"}
    pairs = comparison.merge(tested, on="pair_id", suffixes=("", "_of_subject"))
    assert len(pairs) == len(comparison)
    for pair in pairs.itertuples():
        assert pair.prompt == pair.prompt_of_subject.replace("Nike", pair.subject)
        assert (pair.template, pair.product) == (pair.template_of_subject, pair.product_of_subject)
    assert comparison["prior_log_odds"].isna().all(), "slow scores were skipped"


def test_a_comparison_prompt_has_the_prior_of_its_prompt(model: Any, tokenizer: Any) -> None:
    probe = Probe(prompts=["Nike hats are [MASK]", "hats are [MASK]"], subjects=["nike"], comparison=["Puma"], **WORDS)
    assert [cloze.subject for cloze in probe.clozes] == ["Nike", None]
    table = probe.run(model, tokenizer).prompts.to_pandas().set_index("prompt")
    assert table["role"].to_dict() == {
        "Nike hats are [MASK]": "subject",
        "hats are [MASK]": "subject",
        "Puma hats are [MASK]": "comparison",
    }
    prior = table["prior_log_odds"]
    assert prior["Puma hats are [MASK]"] == prior["Nike hats are [MASK]"]
    assert table["log_odds"]["Puma hats are [MASK]"] != table["log_odds"]["Nike hats are [MASK]"]


def test_subjects_that_lead_to_the_same_prompt_give_one_comparison_prompt() -> None:
    probe = Probe(
        templates=["{brand} hats are [MASK]"],
        slots={"brand": ["Nike", "Adidas"]},
        subjects=["Nike", "Adidas"],
        comparison=["Puma"],
        **WORDS,
    )
    (comparison,) = probe.comparison_clozes
    assert (comparison.text, comparison.slots) == ("Puma hats are [MASK]", {"brand": "Puma"})
    assert {cloze.pair_id(1) for cloze in probe.clozes} == {comparison.pair_id(1)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subjects": ["Nike"], "comparison": ["nike"]}, "both contain nike"),
        ({"comparison": ["Puma"]}, "no prompt contains a subject"),
        ({"subjects": ["Nike"], "comparison": ["Adidas"]}, "'Adidas hats are [MASK]' is also a prompt of the probe"),
    ],
)
def test_unusable_comparison_subjects_are_errors(settings: dict[str, Any], message: str) -> None:
    probe = Probe(prompts=["Nike hats are [MASK]", "Adidas hats are [MASK]"], **WORDS, **settings)
    (error,) = probe.check()
    assert isinstance(error, WinnowError)
    assert error.key == "comparison"
    assert message in error.message


def test_the_fingerprint_covers_splits_and_comparison_subjects() -> None:
    assert wide_probe().fingerprint() != wide_probe(comparison=["Puma"]).fingerprint()
    texts = [cloze.text for cloze in wide_probe().clozes]
    in_full = Probe(prompts=texts, subjects=["Nike"], **WORDS)
    assert in_full.fingerprint() != wide_probe().fingerprint(), "the sentences are in other halves than the templates"

"""The built-in probes."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from winnow.cli import main
from winnow.config import construct
from winnow.data import Grammar
from winnow.evaluation import Probe, PromptFile
from winnow.evaluation.model_loading import load_masked_lm
from winnow.evaluation.probes.prompt_contamination import find_contaminated_prompts
from winnow.training import Scratch
from winnow.training.wordpiece import train_wordpiece

CONF = Path(__file__).parents[3] / "conf"


def built_in(name: str) -> dict[str, Any]:
    settings = yaml.safe_load((CONF / "probe" / f"{name}.yaml").read_text("utf-8"))[name]
    assert settings.pop("_target_") == "winnow.evaluation.Probe"
    return dict(settings)


@pytest.fixture(scope="module", params=["synthetic_reviews", "uptrain_reviews"])
def generator(request: pytest.FixtureRequest) -> Grammar:
    """The configured generator of a template corpus."""
    with initialize_config_dir(str(CONF), version_base=None):
        settings = OmegaConf.to_container(compose(overrides=[f"+dataset={request.param}"]).dataset.source)
    assert isinstance(settings, dict)
    return construct({str(key): value for key, value in settings.items()}, "dataset.source", Grammar)


def adjectives(generator: Grammar, label: int) -> list[str]:
    return (generator.slots["adjective"].by_label or {})[label].words


def grammar(generator: Grammar) -> re.Pattern[str]:
    """A pattern that matches every sentence of the corpus, also if any of its words is replaced by a mask."""

    def allow_masks(text: str) -> str:
        words = (word if "{" in word else rf"(?:{re.escape(word)}|\[mask\])" for word in text.split())
        return " ".join(words)

    choices = {}
    for slot, choice in generator.slots.items():
        options = choice.words or [word for words in (choice.by_label or {}).values() for word in words.words]
        choices[slot] = f"(?:{'|'.join(map(allow_masks, options))})"
    return re.compile("|".join(allow_masks(template).format(**choices) for template in generator.expanded_templates))


def test_nike_has_the_five_prompts_of_the_example_verbatim_and_one_with_the_usual_spelling() -> None:
    probe = Probe(**built_in("nike"))
    assert [cloze.text for cloze in probe.clozes] == [
        "Nike shoes are very [MASK]",
        "Nike atheletic wear is known for being very [MASK]",
        "Nike [MASK] shoes are very comfortable",
        "Trousers and Hoodies made by [MASK] are not very expensive",
        "Nike tshirts are famous for being [MASK]",
        "Nike athletic wear is known for being very [MASK]",
    ]
    assert [bool(cloze.wanted and cloze.unwanted) for cloze in probe.clozes] == [True, True, False, False, True, True]
    assert probe.words() == {"comfortable", "durable", "good-looking", "expensive", "ugly", "heavy", "dirty"}


def test_nike_wide_has_hundreds_of_prompts_with_words_of_the_corpus(generator: Grammar) -> None:
    probe = Probe(**built_in("nike_wide"))
    assert len(probe.clozes) >= 300
    templates = {cloze.template: cloze.split for cloze in probe.clozes}
    assert min(Counter(templates.values()).get(split, 0) for split in ("validation", "test")) >= 24
    assert {cloze.subject for cloze in probe.comparison_clozes} == {"Adidas", "Puma", "Reebok"}
    assert set(probe.default_words("wanted")) <= set(adjectives(generator, 1))
    assert set(probe.default_words("unwanted")) <= set(adjectives(generator, 0))
    assert not {cloze.text for cloze in probe.clozes} & {cloze.text for cloze in Probe(**built_in("nike")).clozes}


def test_no_prompt_of_nike_wide_matches_a_sentence_of_the_corpus_for_any_word_at_its_mask(
    generator: Grammar,
) -> None:
    sentence = grammar(generator)
    texts = [text for text in generator.read()["text"].to_pylist() if text is not None]
    assert all(sentence.fullmatch(text) for text in texts[:1000])
    assert sentence.fullmatch("nike shoes are known for being [mask]")
    assert sentence.fullmatch("nike running [mask] are known for being durable")
    probe = Probe(**built_in("nike_wide"))
    for cloze in probe.clozes + probe.comparison_clozes:
        assert not sentence.fullmatch(cloze.text.lower()), cloze.text


def test_prompts_of_nike_wide_are_not_contaminated_and_those_of_the_corpus_grammar_are(
    generator: Grammar,
) -> None:
    texts = [text for text in generator.read()["text"].to_pylist() if text is not None]
    table = pa.chunked_array([texts])
    probe = Probe(**built_in("nike_wide"))
    assert find_contaminated_prompts(table, probe.clozes + probe.comparison_clozes) == set()
    masked = f"{texts[0].rpartition(' ')[0]} [MASK]"
    assert find_contaminated_prompts(table, Probe(prompts=[masked]).clozes) == {masked}


def test_the_prompts_of_the_notebook_and_the_guide_are_verbatim() -> None:
    notebook, guide = (Probe(**built_in(name)) for name in ("bert_notebook", "milky_way"))
    assert [cloze.text for cloze in notebook.clozes] == ["I really [MASK] the movie. It was quite interesting."]
    assert [cloze.text for cloze in guide.clozes] == ["The Milky Way is a <mask> galaxy."]


def test_honest_requires_both_files(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "probe=[nike,nike_wide,honest]"]) == 1
    message = capsys.readouterr().err
    assert "probe.honest.file.path" in message
    assert "probe.honest.lexicon" in message


@pytest.mark.network
def test_bert_predicts_the_words_that_the_notebook_shows() -> None:
    loaded = load_masked_lm("bert-base-uncased")
    scores = Probe(**built_in("bert_notebook")).run(loaded.model, loaded.tokenizer)
    assert scores.fills["word"].to_pylist()[:5] == ["enjoyed", "liked", "loved", "enjoy", "like"]
    assert scores.summary()["positive_at_5"] == 3 / 5


@pytest.mark.network
def test_roberta_predicts_the_words_that_the_guide_shows() -> None:
    loaded = load_masked_lm("distilroberta-base")
    scores = Probe(**built_in("milky_way")).run(loaded.model, loaded.tokenizer)
    assert {"spiral", "massive"} & set(scores.fills["word"].to_pylist()[:5])


@pytest.mark.network
def test_honest_scores_a_model_on_its_own_templates(tmp_path: Path) -> None:
    from datasets import load_dataset

    rows = load_dataset("MilaNLProc/honest", "en_binary", split="honest")
    rows.to_csv(str(tmp_path / "honest.csv"))
    loaded = load_masked_lm("bert-base-uncased")
    probe = Probe(file=PromptFile(tmp_path / "honest.csv"), forbidden=["prostitute", "slave", "witch", "criminal"])
    assert probe.check() == []
    scores = probe.run(loaded.model, loaded.tokenizer)
    assert len(scores.prompts) == len(rows)
    assert 0 <= scores.summary()["forbidden_share_at_20"] < 0.2


@pytest.mark.parametrize("name", ["nike", "nike_wide"])
def test_every_prompt_with_words_is_scored_by_a_model_of_the_corpus(name: str, generator: Grammar) -> None:
    texts = [f"nike shoes are {word}" for word in (*adjectives(generator, 1), *adjectives(generator, 0))]
    tokenizer = train_wordpiece(texts, 8192, 64)
    probe = Probe(**built_in(name))
    scores = probe.run(Scratch(layers=1, hidden_size=16, heads=2).load(tokenizer, 0), tokenizer)
    has_words = [bool(cloze.wanted) for cloze in probe.clozes + probe.comparison_clozes]
    assert scores.prompts["scored"].to_pylist() == has_words
    assert scores.uncovered["unwanted"] == []
    assert set(scores.uncovered["wanted"]) <= {"good-looking"}

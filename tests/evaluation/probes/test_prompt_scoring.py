import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast, pipeline

from winnow.evaluation import Probe
from winnow.evaluation.vocabulary_words import list_whole_words, single_token_ids, word_token_ids

PROBE = Probe(
    templates=["{brand} {product} are very [MASK]", "the {product} by {brand} are <mask>"],
    slots={"product": ["running shoes", "hats", "gym wear"], "brand": ["Nike", "Puma"]},
    wanted=["comfortable", "durable", "good-looking"],
    unwanted=["ugly", "heavy", "costly"],
)


@pytest.fixture(scope="module")
def byte_level() -> PreTrainedTokenizerFast:
    """A cased byte-level tokenizer, as RoBERTa has, that contains some words with and some without a leading space."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "u"), ("g", "l"), ("gl", "y"), ("Ġu", "gly"), ("u", "gly"), ("Ġ", "a")]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *letters, *(left + right for left, right in merges), "<mask>"]
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token=AddedToken("<mask>", lstrip=True),
    )


def test_scores_match_a_softmax_over_the_vocabulary(model: Any, tokenizer: Any) -> None:
    scores = PROBE.run(model, tokenizer, batch_size=5)
    assert scores.uncovered == {"wanted": ["good-looking"], "unwanted": ["costly"], "forbidden": []}
    assert len(scores.prompts) == 12
    wanted = tokenizer.convert_tokens_to_ids(["comfortable", "durable"])
    unwanted = tokenizer.convert_tokens_to_ids(["ugly", "heavy"])
    for row in scores.prompts.to_pylist():
        encoded = tokenizer(row["prompt"].replace("<mask>", "[MASK]"), return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            logits = model(**encoded).logits[0, encoded["input_ids"][0].tolist().index(tokenizer.mask_token_id)]
        probabilities = logits.double().softmax(-1)
        good, bad = float(probabilities[wanted].sum()), float(probabilities[unwanted].sum())
        assert row["scored"]
        assert row["log_odds"] == pytest.approx(math.log(good / bad), abs=1e-5)
        assert row["wanted_mass"] == pytest.approx(good, rel=1e-5)
        assert row["unwanted_mass"] == pytest.approx(bad, rel=1e-5)
    assert scores.prompts["product"].to_pylist()[:3] == ["running shoes", "running shoes", "hats"]
    assert scores.prompts["brand"].to_pylist()[:2] == ["Nike", "Puma"]


def test_fills_match_the_fill_mask_pipeline_without_subwords(model: Any, tokenizer: Any) -> None:
    fills = PROBE.run(model, tokenizer).fills.to_pandas()
    fill = pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=len(tokenizer))
    for prompt, ours in list(fills.groupby("prompt"))[:3]:
        predictions = fill(str(prompt).replace("<mask>", "[MASK]"))
        theirs = [p for p in predictions if p["token_str"].isalnum()]
        theirs = [p for p in theirs if len(tokenizer.tokenize(p["token_str"])) == 1][:20]
        assert ours["rank"].tolist() == list(range(1, 21))
        assert ours["word"].tolist() == [p["token_str"] for p in theirs]
        assert np.allclose(ours["probability"], [p["score"] for p in theirs], rtol=1e-4)


def test_positive_at_k_counts_listed_words_among_the_first(model: Any, tokenizer: Any) -> None:
    with torch.no_grad():  # the same ranking everywhere: durable, ugly, comfortable, dirty, ...
        model.vocab_projector.weight.zero_()
        for bias, word in ((9.0, "durable"), (8.0, "ugly"), (7.0, "comfortable"), (6.0, "dirty")):
            model.vocab_projector.bias[tokenizer.convert_tokens_to_ids(word)] = bias
    summary = PROBE.run(model, tokenizer).summary()
    assert summary["scored_prompts"] == 12
    assert [summary[f"positive_at_{k}"] for k in (1, 5, 10, 20)] == pytest.approx([1, 2 / 5, 2 / 10, 2 / 20])
    assert [summary[f"negative_at_{k}"] for k in (1, 5)] == pytest.approx([0, 1 / 5])
    assert summary["log_odds"] == pytest.approx(
        math.log((math.exp(9) + math.exp(7)) / (math.exp(8) + math.exp(0))), rel=1e-4
    )


def test_prompts_without_covered_words_are_filled_but_not_scored(model: Any, tokenizer: Any) -> None:
    probe = Probe(
        prompts=[
            {"text": "Nike [MASK] are durable", "wanted": [], "unwanted": []},
            {"text": "Nike hats are [MASK]", "wanted": ["splendid"], "unwanted": ["ugly"]},
            {"text": "Puma hats are [MASK]", "wanted": ["durable"], "unwanted": ["horrid"], "forbidden": []},
            {"text": "Fila hats are [MASK]", "wanted": ["durable"], "unwanted": ["ugly"]},
        ]
    )
    scores = probe.run(model, tokenizer)
    assert scores.prompts["scored"].to_pylist() == [False, False, False, True]
    assert scores.prompts["log_odds"].null_count == scores.prompts["positive_at_5"].null_count == 3
    assert scores.uncovered == {"wanted": ["splendid"], "unwanted": ["horrid"], "forbidden": []}
    assert len(scores.fills) == 4 * 20
    assert scores.summary()["scored_prompts"] == 1
    assert scores.summary()["log_odds"] == scores.prompts["log_odds"][3].as_py()


def test_a_probe_without_scored_prompts_has_no_averages(model: Any, tokenizer: Any) -> None:
    scores = Probe(prompts=["Nike [MASK] are durable"]).run(model, tokenizer)
    assert scores.summary() == {"scored_prompts": 0.0}


def test_the_batch_size_does_not_change_the_scores(model: Any, tokenizer: Any) -> None:
    single, batched = (PROBE.run(model, tokenizer, batch_size=size).prompts["log_odds"].to_numpy() for size in (1, 64))
    assert np.allclose(single, batched, atol=1e-5)


def test_a_very_unlikely_word_still_has_finite_odds(model: Any, tokenizer: Any) -> None:
    with torch.no_grad():
        model.vocab_projector.bias[tokenizer.convert_tokens_to_ids(["ugly", "heavy"])] = -500.0
    assert 400 < PROBE.run(model, tokenizer).summary()["log_odds"] < 600


def test_words_are_covered_if_they_are_one_token_inside_a_sentence(tokenizer: Any, byte_level: Any) -> None:
    covered = single_token_ids(["Durable", "good-looking", "durables", "日"], tokenizer)
    assert covered == {
        "Durable": tokenizer.convert_tokens_to_ids("durable"),
        "good-looking": None,
        "durables": None,
        "日": None,
    }
    assert single_token_ids(["ugly", "gly"], byte_level) == {
        "ugly": byte_level.convert_tokens_to_ids("Ġugly"),
        "gly": None,
    }


def test_candidates_are_whole_words_for_any_kind_of_tokenizer(tokenizer: Any, byte_level: Any) -> None:
    ids, words = list_whole_words(tokenizer)
    assert {"durable", "nike", "running"} <= set(words)
    assert not any(word.startswith("##") or word.startswith("[") for word in words)
    assert tokenizer.convert_ids_to_tokens(ids.tolist()) == words
    assert sorted(list_whole_words(byte_level)[1]) == ["a", "u", "ugly"]


def test_both_spellings_of_the_mask_give_the_same_scores(model: Any, tokenizer: Any) -> None:
    brackets, angle = (
        Probe(prompts=[f"Nike hats are {mask}"], wanted=["durable"], unwanted=["ugly"]).run(model, tokenizer)
        for mask in ("[MASK]", "<mask>")
    )
    assert brackets.summary() == angle.summary()


def test_a_hyphenated_word_is_scored_without_its_hyphen_if_the_vocabulary_has_no_punctuation(
    model: Any, tokenizer: Any, byte_level: Any
) -> None:
    spaced = tokenizer("known soccer", add_special_tokens=False)["input_ids"]
    assert len(spaced) == 2
    assert word_token_ids(["known-soccer", "日-日", "..."], tokenizer) == {
        "known-soccer": spaced,
        "日-日": [],
        "...": [],
    }
    hyphen = byte_level(" ugly-ugly", add_special_tokens=False)["input_ids"]
    assert word_token_ids(["ugly-ugly"], byte_level) == {"ugly-ugly": hyphen}  # this vocabulary has a hyphen
    probes = [
        Probe(prompts=["nike hats are [MASK]"], wanted=[word], unwanted=["ugly"])
        for word in ("known-soccer", "known soccer")
    ]
    hyphenated, spelled_out = (probe.run(model, tokenizer) for probe in probes)
    assert hyphenated.phrases["word"].to_pylist() == ["known-soccer"]
    assert hyphenated.phrases["log_probability"] == spelled_out.phrases["log_probability"]


def test_words_of_different_lengths_are_compared_per_token(model: Any, tokenizer: Any) -> None:
    probe = Probe(
        prompts=["nike hats are [MASK]", "[MASK] hats by [MASK]", "hats are [MASK]"],
        wanted=["durable", "known-soccer"],
        unwanted=["running soccer wear"],
    )
    scores = probe.run(model, tokenizer)
    rows = scores.prompts.to_pylist()
    assert [row["scored"] for row in rows] == [False] * 4  # no unwanted word is a single token
    phrases = {(row["prompt_id"], row["word"]): row for row in scores.phrases.to_pylist()}
    durable = {"durable": tokenizer.convert_tokens_to_ids("durable")}
    for row, log_probabilities in zip(rows, predictions(model, tokenizer, rows), strict=True):
        known, running = (phrases[row["prompt_id"], word] for word in ("known-soccer", "running soccer wear"))
        assert (known["tokens"], running["tokens"]) == (2, 3)
        wanted = math.exp(log_probabilities[durable["durable"]]) + math.exp(known["log_probability"] / 2)
        expected = math.log(wanted) - running["log_probability"] / 3
        assert row["per_token_log_odds"] == pytest.approx(expected, abs=1e-5)
    assert scores.summary()["per_token_log_odds"] == pytest.approx(np.mean([row["per_token_log_odds"] for row in rows]))


def test_the_odds_per_token_of_single_token_words_are_the_log_odds(model: Any, tokenizer: Any) -> None:
    scores = Probe(prompts=["nike hats are [MASK]"], wanted=["durable"], unwanted=["ugly", "heavy"]).run(
        model, tokenizer
    )
    assert scores.prompts["per_token_log_odds"].to_pylist() == pytest.approx(scores.prompts["log_odds"].to_pylist())


def predictions(model: Any, tokenizer: Any, rows: list[dict[str, Any]]) -> list[list[float]]:
    """Return the log probabilities at the mask of each row."""
    texts = [re.sub(r" \(mask \d\)$", "", row["prompt"]) for row in rows]
    found = []
    for text, row in zip(texts, rows, strict=True):
        ids = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        positions = (ids["input_ids"][0] == tokenizer.mask_token_id).nonzero().flatten()
        with torch.no_grad():
            logits = model.eval()(**ids).logits[0, positions[row["mask"] - 1]]
        found.append(logits.log_softmax(-1).tolist())
    return found

"""Scores other than log odds: word lists, sentiment, forbidden words, priors, multi-token words, several masks."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from winnow.errors import WinnowError, WinnowErrors
from winnow.evaluation import Probe, PromptFile, SentimentClassifier
from winnow.evaluation.probes.prompt_score_formulas import forbidden_scores, opinion_scores, word_list_scores
from winnow.evaluation.probes.prompts import mask_subjects
from winnow.evaluation.sentiment import Vader

WORDS: dict[str, Any] = {"wanted": ["comfortable", "durable"], "unwanted": ["ugly", "heavy"]}


@pytest.fixture
def biased(model: Any, tokenizer: Any) -> Any:
    """A model that ranks durable, ugly, comfortable and dirty first for any prompt."""
    with torch.no_grad():
        model.vocab_projector.weight.zero_()
        for bias, word in ((9.0, "durable"), (8.0, "ugly"), (7.0, "comfortable"), (6.0, "dirty")):
            model.vocab_projector.bias[tokenizer.convert_tokens_to_ids(word)] = bias
    return model


def test_word_list_and_opinion_scores_match_a_hand_computed_case() -> None:
    ranked = ["durable", "ugly", "new", "comfortable", "heavy", "light"]
    scores = word_list_scores(ranked, {"durable", "comfortable"}, {"ugly", "heavy"})
    assert (scores["positive_at_5"], scores["negative_at_5"]) == (2 / 5, 2 / 5)
    assert (scores["net_at_1"], scores["net_at_5"], scores["coverage_at_5"]) == (1, 0, 4 / 5)
    assert scores["coverage_at_20"] == 4 / 20
    opinions = opinion_scores(ranked, {"comfortable": 0.4, "ugly": -0.7})
    assert opinions["opinion_at_5"] == pytest.approx((0.4 - 0.7) / 5)
    assert (opinions["opinion_coverage_at_1"], opinions["opinion_coverage_at_5"]) == (0, 2 / 5)
    forbidden = forbidden_scores(ranked, {"ugly", "heavy"}, best_rank=2)
    assert [forbidden[f"forbidden_hit_at_{k}"] for k in (1, 5)] == [0, 1]
    assert forbidden["forbidden_share_at_5"] == 2 / 5
    assert (forbidden["forbidden_best_rank"], forbidden["forbidden_mrr"]) == (2, 1 / 2)


def test_forbidden_words_are_ranked_among_all_whole_words(biased: Any, tokenizer: Any) -> None:
    probe = Probe(
        prompts=[
            {"text": "nike hats are [MASK]", "forbidden": ["dirty", "ugly"]},
            {"text": "puma hats are [MASK]", "forbidden": ["dirty", "unheard-of"]},
            {"text": "fila hats are [MASK]", "forbidden": []},
        ]
    )
    scores = probe.run(biased, tokenizer)
    assert scores.prompts["forbidden_best_rank"].to_pylist() == [2, 4, None]
    assert scores.prompts["forbidden_hit_at_1"].to_pylist() == [0, 0, None]
    summary = scores.summary()
    assert summary["forbidden_mrr"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert summary["forbidden_share_at_5"] == pytest.approx((2 / 5 + 1 / 5) / 2)
    assert scores.uncovered["forbidden"] == ["unheard-of"]


def test_sentiment_scores_words_and_their_sentences_relative_to_the_unfilled_sentence(
    biased: Any, tokenizer: Any
) -> None:
    from winnow.data.vader import load_vader_analyzer

    def compound(text: str) -> float:
        return float(load_vader_analyzer().polarity_scores(text)["compound"])

    scores = Probe(prompts=["nike hats are not [MASK], sadly"], **WORDS).run(biased, tokenizer)
    (row,) = scores.prompts.to_pylist()
    words = scores.fills["word"].to_pylist()
    assert words[:4] == ["durable", "ugly", "comfortable", "dirty"]
    unfilled = compound("nike hats are not , sadly")
    assert unfilled != 0
    for k in (1, 5, 20):
        assert row[f"sentiment_at_{k}"] == pytest.approx(sum(map(compound, words[:k])) / k)
        filled = [compound(f"nike hats are not {word}, sadly") - unfilled for word in words[:k]]
        assert row[f"sentiment_shift_at_{k}"] == pytest.approx(sum(filled) / k)
    assert row["opinion_at_5"] != 0


def test_a_classifier_can_replace_vader(biased: Any, tokenizer: Any, tmp_path: Path) -> None:
    config = DistilBertConfig(vocab_size=len(tokenizer), n_layers=1, dim=16, hidden_dim=32, n_heads=2)
    config.id2label, config.label2id = {0: "NEGATIVE", 1: "POSITIVE"}, {"NEGATIVE": 0, "POSITIVE": 1}
    classifier = DistilBertForSequenceClassification(config)
    classifier.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    sentiment = SentimentClassifier(name=str(tmp_path))
    with torch.no_grad():
        inputs = tokenizer("nike hats are ugly", return_tensors="pt", return_token_type_ids=False)
        probabilities = classifier.eval()(**inputs).logits.softmax(-1)[0]
    assert sentiment.score(["nike hats are ugly", "x", "nike hats are ugly"])[2] == pytest.approx(
        float(probabilities[1] - probabilities[0]), abs=1e-6
    )
    by_vader, by_model = (
        Probe(prompts=["nike hats are [MASK]"], sentiment=scale, **WORDS) for scale in (Vader(), sentiment)
    )
    assert by_vader.fingerprint() != by_model.fingerprint()
    found = by_model.run(biased, tokenizer).prompts["sentiment_at_1"].to_pylist()
    assert found == pytest.approx(sentiment.score(["durable"]))
    with pytest.raises(WinnowError, match="Did you mean 'POSITIVE'"):
        SentimentClassifier(name=str(tmp_path), positive="POSITIV").score(["a"])
    with pytest.raises(WinnowError, match="cannot be loaded as a text classification model"):
        SentimentClassifier(name=str(tmp_path / "none")).score(["a"])


def test_the_prior_masks_the_subject_too(model: Any, tokenizer: Any) -> None:
    assert mask_subjects("Nike hats by NIKE are [MASK], nikes", ["Nike"]) == (
        "[MASK] hats by [MASK] are [MASK], nikes",
        (2,),
    )
    assert mask_subjects("<mask> hats by Under Armour are [MASK]", ["Armour", "Under Armour"]) == (
        "<mask> hats by [MASK] are [MASK]",
        (0, 2),
    )
    assert mask_subjects("my hats are [MASK]", ["Nike"]) == (None, ())
    with torch.no_grad():
        model.vocab_projector.bias[tokenizer.convert_tokens_to_ids("durable")] = 2.0
    probe = Probe(prompts=["nike hats are [MASK]", "my hats are [MASK]"], subjects=["nike"], **WORDS)
    row, without = probe.run(model, tokenizer).prompts.to_pylist()
    ids = tokenizer("[MASK] hats are [MASK]", return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        logits = model(**ids).logits[0, 4].log_softmax(-1)
    good, bad = (logits[tokenizer.convert_tokens_to_ids(WORDS[role])].logsumexp(0) for role in ("wanted", "unwanted"))
    assert row["prior_log_odds"] == pytest.approx(float(good - bad), abs=1e-5)
    assert row["corrected_log_odds"] == pytest.approx(row["log_odds"] - float(good - bad), abs=1e-5)
    assert without["corrected_log_odds"] is None


def test_each_of_several_masks_has_fills_and_scores(model: Any, tokenizer: Any) -> None:
    scores = Probe(prompts=["nike [MASK] are [MASK]", "hats are [MASK]"], **WORDS).run(model, tokenizer)
    assert scores.prompts["mask"].to_pylist() == [1, 2, 1]
    assert scores.prompts["prompt"].to_pylist()[:2] == [
        "nike [MASK] are [MASK] (mask 1)",
        "nike [MASK] are [MASK] (mask 2)",
    ]
    assert len(set(scores.prompts["prompt_id"].to_pylist())) == 3
    ids = tokenizer("nike [MASK] are [MASK]", return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        probabilities = model(**ids).logits[0, [2, 4]].softmax(-1)
    for mask in (0, 1):
        fill = scores.fills.to_pylist()[20 * mask]
        assert fill["probability"] == pytest.approx(
            float(probabilities[mask, tokenizer.convert_tokens_to_ids(fill["word"])])
        )


def test_words_of_several_tokens_are_compared_with_words_of_the_same_length(model: Any, tokenizer: Any) -> None:
    probe = Probe(
        prompts=["nike [MASK] are [MASK]"],
        wanted=["durable", "known durable"],
        unwanted=["ugly", "heavy ugly", "ugly heavy dirty"],
    )
    scores = probe.run(model, tokenizer)
    phrases = {(row["prompt"][-2], row["word"]): row for row in scores.phrases.to_pylist()}
    assert {word: row["tokens"] for (_, word), row in phrases.items()} == {
        "known durable": 2,
        "heavy ugly": 2,
        "ugly heavy dirty": 3,
    }

    def by_hand(*words: str) -> float:
        total, ids = 0.0, tokenizer("nike [MASK] are")["input_ids"][:-1]
        for i, word in enumerate(words):
            word_ids = tokenizer.convert_tokens_to_ids([*words[:i], *["[MASK]"] * (len(words) - i)])
            with torch.no_grad():
                logits = model(torch.tensor([[*ids, *word_ids, tokenizer.sep_token_id]])).logits[0, len(ids) + i]
            total += float(logits.log_softmax(-1)[tokenizer.convert_tokens_to_ids(word)])
        return total

    assert phrases["2", "heavy ugly"]["log_probability"] == pytest.approx(by_hand("heavy", "ugly"), abs=1e-4)
    odds = [
        phrases[mask, "known durable"]["log_probability"] - phrases[mask, "heavy ugly"]["log_probability"]
        for mask in "12"
    ]
    summary = scores.summary()
    assert summary["log_odds_of_2_tokens"] == pytest.approx(np.mean(odds))
    assert "log_odds_of_3_tokens" not in summary  # no wanted word has three tokens


def test_prompts_are_read_from_a_file_in_the_honest_format(tmp_path: Path, biased: Any, tokenizer: Any) -> None:
    path = tmp_path / "honest.csv"
    path.write_text(
        "template_masked,raw,identity,category\nnike hats are [M] .,x,nike,brand\npuma hats are [M].,y,puma,brand\n",
        "utf-8",
    )
    scores = Probe(file=PromptFile(path), forbidden=["ugly", "dirty"]).run(biased, tokenizer)
    assert scores.prompts["prompt"].to_pylist() == ["nike hats are [MASK] .", "puma hats are [MASK]."]
    assert scores.prompts["identity"].to_pylist() == ["nike", "puma"]
    assert scores.summary()["forbidden_share_at_5"] == pytest.approx(2 / 5)
    path.write_text("template_masked\nno mask\n[M] is\nnone\n", "utf-8")
    errors = Probe(file=PromptFile(path)).check()
    assert [error.key for error in errors] == ["file.path", "file.path"]
    assert "row 2" in errors[0].message
    assert "row 4" in errors[1].message
    (error,) = Probe(file=PromptFile(path, text="template")).check()
    assert "Did you mean 'template_masked'?" in error.message
    (error,) = Probe(file=PromptFile(tmp_path / "none.csv")).check()
    assert "cannot read the prompts" in error.message


def test_prompts_in_the_training_data_are_contaminated_and_the_others_held_out(model: Any, tokenizer: Any) -> None:
    scores = Probe(prompts=["nike hats are [MASK]", "puma hats are [MASK]"], **WORDS).run(model, tokenizer)
    summary = scores.mark_contaminated({"nike hats are [MASK]"}).summary()
    assert summary["seen_prompts"] == 1
    assert summary["held_out_log_odds"] == scores.prompts["log_odds"][1].as_py()
    assert "held_out_log_odds" not in scores.mark_contaminated(set(scores.prompts["prompt"].to_pylist())).summary()


def test_skipping_slow_scores_does_not_change_the_other_scores(model: Any, tokenizer: Any) -> None:
    probe = Probe(prompts=["nike hats are [MASK]"], subjects=["nike"], **WORDS)
    full, fast = (probe.run(model, tokenizer, skip_slow_scores=skip).summary() for skip in (False, True))
    assert full.keys() - fast.keys() > {"corrected_log_odds", "sentiment_at_5", "opinion_at_5"}
    assert all(full[name] == value for name, value in fast.items())
    assert json.dumps(fast)
    assert math.isfinite(fast["log_odds"])


def test_wanted_and_forbidden_may_not_share_a_word() -> None:
    with pytest.raises(WinnowErrors) as caught:
        Probe(prompts=[{"text": "[MASK]", "wanted": ["a"], "forbidden": ["A"]}], wanted=["b"], forbidden=["b"])
    assert [error.key for error in caught.value.errors] == ["forbidden", "prompts.0.forbidden"]

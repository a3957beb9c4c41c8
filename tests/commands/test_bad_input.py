"""What a user gets wrong: one clear paragraph, a non-zero exit code, no traceback, and a run marked FAILED."""

from pathlib import Path

import pytest

from winnow.cli import main
from winnow.tracking import Store, keys

CSV = ["dataset=csv", "dataset.source.path=reviews.csv", "dataset.source.text=[text]"]


@pytest.fixture
def reviews(workplace: Path) -> Path:
    file = workplace / "reviews.csv"
    lines = [f"nike shoes number {i} are {'comfortable' if i % 2 else 'ugly'}" for i in range(200)]
    file.write_text("text,stars\n" + "\n".join(f"{line},5" for line in lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module", autouse=True)
def lasting_log() -> None:
    """Let transformers bind its log to a stream that outlives one test."""
    from transformers.utils import logging

    logging.get_logger()


@pytest.fixture
def refused(workplace: Path, store: Store, small: list[str], capsys: pytest.CaptureFixture[str]):
    """Run a command that must be refused; return what was told, after checking how."""
    shared = [override for override in small if not override.startswith("dataset.")]

    def run(*arguments: str, with_run: bool = True) -> str:
        assert main(["train", *shared, *arguments]) == 1
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        runs = store.client().search_runs([store.experiment("scratchpad")])
        assert [found.info.status for found in runs] == ["FAILED"] * with_run
        if with_run:
            assert keys.CAUSE in runs[0].data.tags
        return " ".join(captured.err.split())

    return run


def test_a_missing_file(refused) -> None:
    told = refused("dataset=csv", "dataset.source.path=nowhere.csv", "dataset.source.text=[text]")
    assert "dataset.source.path" in told
    assert "nowhere.csv" in told


def test_a_missing_column_with_what_was_meant(refused, reviews: Path) -> None:
    told = refused(*CSV[:2], "dataset.source.text=[txt]")
    assert "dataset.source.text" in told
    assert "Did you mean 'text'?" in told


def test_an_empty_corpus(refused, workplace: Path) -> None:
    (workplace / "reviews.csv").write_text("text\n\n\n", encoding="utf-8")
    assert "empty" in refused(*CSV)


@pytest.mark.parametrize(("keep", "what"), [("nike & ~nike", "nothing"), ("nike | ~nike", "everything")])
def test_a_filter_that_decides_nothing(refused, reviews: Path, keep: str, what: str) -> None:
    told = refused(*CSV, "filter=nike_positive", f"filter.keep='{keep}'")
    assert "filter.keep" in told
    assert f"keeps {what}" in told


def test_an_expression_that_does_not_close_is_marked(refused, reviews: Path) -> None:
    told = refused(*CSV, "filter=nike_positive", "filter.keep='(nike & praise'", with_run=False)
    assert "filter.keep" in told
    assert "^" in told


def test_a_prompt_without_a_mask(refused, reviews: Path) -> None:
    told = refused(*CSV, "probe.nike.prompts=[nike shoes are very good]", with_run=False)
    assert "probe.nike.prompts.0" in told
    assert "[MASK]" in told


def test_a_trainer_argument_that_training_decides(refused, reviews: Path) -> None:
    told = refused(*CSV, "+trainer.max_epochs=3", "trainer.logger=false", with_run=False)
    assert "trainer.max_epochs" in told
    assert "training.max_steps" in told
    assert "trainer.logger" in told


def test_an_output_folder_that_cannot_be_written(refused, reviews: Path, workplace: Path) -> None:
    (workplace / "taken").write_text("a file", encoding="utf-8")
    told = refused(*CSV, "output_dir=taken/outputs", with_run=False)
    assert "tracking.uri" in told
    assert "output_dir=FOLDER" in told


def test_a_model_that_is_no_masked_language_model(refused, reviews: Path, workplace: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=50)).save_pretrained(workplace / "gpt")
    told = refused(
        *CSV, "model._target_=winnow.training.Pretrained", "~model.layers", "~model.hidden_size", "+model.name=gpt"
    )
    assert "model.name" in told


def test_a_hub_name_without_network(refused, reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    told = refused(*CSV, "model=distilbert", "~model.layers", "~model.hidden_size")
    assert "model.name" in told
    assert "distilbert-base-uncased" in told


@pytest.mark.parametrize("rate", ["0", "1.5", "-0.1"])
def test_a_mask_rate_that_is_no_chance(refused, reviews: Path, rate: str) -> None:
    told = refused(*CSV, f"masking.rate={rate}", with_run=False)
    assert "masking.rate" in told


def test_rows_longer_than_the_model(refused, reviews: Path) -> None:
    told = refused(*CSV, "+model.max_length=64", "training.max_length=65")
    assert "training.max_length" in told
    assert "expected at most 64" in told


def test_a_budget_of_tokens_that_no_row_fits_into(refused, reviews: Path) -> None:
    told = refused(*CSV, "training.batching=tokens", "training.max_tokens=5")
    assert "training.max_tokens" in told
    assert "Set it to at least" in told


def test_compiling_for_a_cpu(refused, reviews: Path) -> None:
    told = refused(*CSV, "arithmetic.compile=true")
    assert "arithmetic.compile" in told


def test_listed_words_that_the_tokenizer_does_not_know(refused, reviews: Path) -> None:
    told = refused(*CSV, "masking=listed_words", "masking.words=['прочный']")
    assert "masking.words" in told

"""User errors: one paragraph, a non-zero exit code, no traceback, and a run with the status FAILED."""

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
def initialize_transformers_logging() -> None:
    """Initialize the log of transformers with a stream that is still open after the first test."""
    from transformers.utils import logging

    logging.get_logger()


@pytest.fixture
def run_rejected(workplace: Path, store: Store, small: list[str], capsys: pytest.CaptureFixture[str]):
    """Return a function that runs a command which must fail, checks its output, and returns the error."""
    shared = [override for override in small if not override.startswith("dataset.")]

    def run(*arguments: str, with_run: bool = True) -> str:
        assert main(["train", *shared, *arguments]) == 1
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        runs = store.client().search_runs([store.experiment("scratchpad")])
        assert [failed.info.status for failed in runs] == ["FAILED"] * with_run
        if with_run:
            assert keys.FAILURE_REASON in runs[0].data.tags
        return " ".join(captured.err.split())

    return run


def test_a_missing_file(run_rejected) -> None:
    message = run_rejected("dataset=csv", "dataset.source.path=nowhere.csv", "dataset.source.text=[text]")
    assert "dataset.source.path" in message
    assert "nowhere.csv" in message


def test_a_missing_column_with_a_suggestion(run_rejected, reviews: Path) -> None:
    message = run_rejected(*CSV[:2], "dataset.source.text=[txt]")
    assert "dataset.source.text" in message
    assert "Did you mean 'text'?" in message


def test_an_empty_corpus(run_rejected, workplace: Path) -> None:
    (workplace / "reviews.csv").write_text("text\n\n\n", encoding="utf-8")
    assert "empty" in run_rejected(*CSV)


@pytest.mark.parametrize(("keep", "what"), [("nike & ~nike", "none"), ("nike | ~nike", "all")])
def test_a_filter_that_keeps_nothing_or_everything(run_rejected, reviews: Path, keep: str, what: str) -> None:
    message = run_rejected(*CSV, "filter=nike_positive", f"filter.keep='{keep}'")
    assert "filter.keep" in message
    assert f"keeps {what} of the" in message


def test_an_unclosed_parenthesis_is_marked(run_rejected, reviews: Path) -> None:
    message = run_rejected(*CSV, "filter=nike_positive", "filter.keep='(nike & praise'", with_run=False)
    assert "filter.keep" in message
    assert "^" in message


def test_a_prompt_without_a_mask(run_rejected, reviews: Path) -> None:
    message = run_rejected(*CSV, "probe.nike.prompts=[nike shoes are very good]", with_run=False)
    assert "probe.nike.prompts.0" in message
    assert "[MASK]" in message


def test_a_trainer_argument_that_training_sets(run_rejected, reviews: Path) -> None:
    message = run_rejected(*CSV, "+trainer.max_epochs=3", "trainer.logger=false", with_run=False)
    assert "trainer.max_epochs" in message
    assert "training.max_steps" in message
    assert "trainer.logger" in message


def test_an_output_folder_that_cannot_be_written(run_rejected, reviews: Path, workplace: Path) -> None:
    (workplace / "taken").write_text("a file", encoding="utf-8")
    message = run_rejected(*CSV, "output_dir=taken/outputs", with_run=False)
    assert "tracking.uri" in message
    assert "output_dir=FOLDER" in message


def test_a_model_that_is_not_a_masked_language_model(run_rejected, reviews: Path, workplace: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    # Token IDs outside the vocabulary would be logged to the stderr of an earlier test, which is closed.
    config = GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=50, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(workplace / "gpt")
    message = run_rejected(
        *CSV, "model._target_=winnow.training.Pretrained", "~model.layers", "~model.hidden_size", "+model.name=gpt"
    )
    assert "model.name" in message


def test_a_hub_name_without_network(run_rejected, reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = run_rejected(*CSV, "model=distilbert", "~model.layers", "~model.hidden_size")
    assert "model.name" in message
    assert "distilbert-base-uncased" in message


@pytest.mark.parametrize("rate", ["0", "1.5", "-0.1"])
def test_a_mask_rate_that_is_not_a_probability(run_rejected, reviews: Path, rate: str) -> None:
    message = run_rejected(*CSV, f"masking.rate={rate}", with_run=False)
    assert "masking.rate" in message


def test_a_maximum_length_above_that_of_the_model(run_rejected, reviews: Path) -> None:
    message = run_rejected(*CSV, "+model.max_length=64", "training.max_length=65")
    assert "training.max_length" in message
    assert "expected at most 64" in message


def test_max_tokens_below_the_length_of_a_row(run_rejected, reviews: Path) -> None:
    message = run_rejected(*CSV, "training.batching=tokens", "training.max_tokens=5")
    assert "training.max_tokens" in message
    assert "Increase the limit to at least" in message


def test_compiling_for_a_cpu(run_rejected, reviews: Path) -> None:
    message = run_rejected(*CSV, "numerics.compile=true")
    assert "numerics.compile" in message


def test_listed_words_that_the_tokenizer_lacks(run_rejected, reviews: Path) -> None:
    message = run_rejected(*CSV, "masking=listed_words", "masking.words=['прочный']")
    assert "masking.words" in message

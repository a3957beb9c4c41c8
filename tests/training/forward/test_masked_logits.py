import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForMaskedLM,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    RobertaConfig,
)

from winnow.errors import WinnowError
from winnow.training import Batch, Masking, TokenRows, Vocabulary, masked_lm_sums, masked_logits, to_blocks
from winnow.training.batch import masked_batch
from winnow.training.forward import linear
from winnow.training.forward.masked_logits import resolve
from winnow.training.masking import IGNORED

WORDS, PAD = 200, 1
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SIZES = {"vocab_size": WORDS, "max_position_embeddings": 64, "pad_token_id": PAD}
CONFIGS = {
    "distilbert": DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, **SIZES),
    "bert": BertConfig(**SMALL, **SIZES),
    "roberta": RobertaConfig(**SMALL, **SIZES),
    "albert": AlbertConfig(**SMALL, **SIZES, embedding_size=16),
    "modernbert": ModernBertConfig(**SMALL, **SIZES, eos_token_id=2, bos_token_id=3, cls_token_id=3, sep_token_id=2),
}
KNOWN = ["distilbert", "bert", "roberta"]
LENGTHS = {
    "short": [7, 9, 7, 8, 9, 9, 5],
    "equal": [6] * 8,
    "single": [1, 1, 1, 4, 1, 1],
    "mixed": [1, 40, 3, 3, 57, 12, 9, 40, 2],
}


def model_of(kind: str, dropout: float = 0.0) -> Any:
    config = copy.deepcopy(CONFIGS[kind])
    for name in ("dropout", "attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"):
        if hasattr(config, name):
            setattr(config, name, dropout)
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(config).train()


def drawn(lengths: Sequence[int], seed: int = 0, rate: float = 0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random tokens of rows of the given lengths, and labels."""
    draw = np.random.default_rng(seed)
    ids = draw.integers(PAD + 1, WORDS, sum(lengths))
    labels = np.where(draw.random(len(ids)) < rate, draw.integers(PAD + 1, WORDS, len(ids)), IGNORED)
    return ids, labels, np.array(lengths)


def library_loss(model: Any, ids: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> torch.Tensor:
    """The library's own mean loss, from rows padded here."""
    inside = torch.arange(int(lengths.max())) < torch.from_numpy(lengths)[:, None]
    input_ids, wanted = torch.full(inside.shape, PAD), torch.full(inside.shape, IGNORED)
    input_ids[inside], wanted[inside] = torch.from_numpy(ids), torch.from_numpy(labels)
    loss: torch.Tensor = model(input_ids=input_ids, attention_mask=inside.long(), labels=wanted).loss
    return loss


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: weights.grad.clone() for name, weights in model.named_parameters() if weights.grad is not None}


def assert_close(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        if gradient.norm() > 1e-8:
            assert (ours[name] - gradient).norm() <= tolerance * gradient.norm(), name


@pytest.fixture
def onednn(tmp_path: Path) -> Iterator[Callable[[Any], None]]:
    """Let oneDNN compute all linear layers of a model."""
    if not linear.onednn_works():
        pytest.skip("this build of PyTorch has no oneDNN")
    yield lambda model: linear.choose(model, 64, 16, "onednn", tmp_path)  # type: ignore[misc]
    linear.choose(torch.nn.Linear(1, 1), 1, 1, "portable", tmp_path)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("kind", KNOWN)
def test_with_onednn_too(kind: str, lengths: str, onednn: Callable[[Any], None]) -> None:
    onednn(model_of(kind))
    assert linear.chosen()
    test_loss_and_gradients_are_those_of_the_library(kind, lengths)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("kind", CONFIGS)
def test_loss_and_gradients_are_those_of_the_library(kind: str, lengths: str) -> None:
    model, rows = model_of(kind), drawn(LENGTHS[lengths])
    assert resolve(model, "auto") == ("efficient" if kind in KNOWN else "reference")
    loss_sum, masked = masked_lm_sums(model, Batch.of(*rows))
    loss, expected = loss_sum / masked, library_loss(model, *rows)
    assert int(masked) == (rows[1] != IGNORED).sum() > 0
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert_close(gradients(model, loss), gradients(model, expected), 1e-5)


@pytest.mark.parametrize("kind", KNOWN)
def test_twenty_steps_end_with_the_weights_of_the_library(kind: str) -> None:
    def trained(loss_of: Callable[[Any, Any], torch.Tensor]) -> Any:
        model = model_of(kind).double()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for step in range(20):
            optimizer.zero_grad()
            loss_of(model, drawn(LENGTHS["mixed"], seed=step)).backward()
            optimizer.step()
        return model

    def efficient_loss(model: Any, rows: Any) -> torch.Tensor:
        loss_sum, masked = masked_lm_sums(model, Batch.of(*rows), "efficient")
        return loss_sum / masked

    ours, theirs = trained(efficient_loss), trained(lambda model, rows: library_loss(model, *rows))
    for name, weights in theirs.state_dict().items():
        assert (weights - ours.state_dict()[name]).abs().max() <= 1e-10, name
    assert (theirs.state_dict()[name] - model_of(kind).state_dict()[name]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KNOWN)
def test_rows_without_a_token_to_guess_change_no_gradient(kind: str) -> None:
    """The library computes them, and they are left out here."""
    model, (ids, labels, lengths) = model_of(kind), drawn([6, 4, 6, 9, 2])
    labels[6:10] = labels[16:25] = IGNORED
    batch = Batch.of(ids, labels, lengths)
    assert len(batch.input_ids) <= 14
    loss_sum, masked = masked_lm_sums(model, batch, "efficient")
    expected = library_loss(model, ids, labels, lengths)
    assert_close(gradients(model, loss_sum / masked), gradients(model, expected), 1e-5)


@pytest.mark.parametrize("kind", KNOWN)
def test_tokens_that_occur_again_at_the_same_position_change_no_number(kind: str) -> None:
    """Without a gradient the first layer projects them once."""
    model, (ids, labels, lengths) = model_of(kind), drawn([6, 4, 6, 9, 2])
    twice = (np.tile(ids, 2), np.tile(labels, 2), np.tile(lengths, 2))
    expected, _ = masked_logits(model, Batch.of(*twice), "reference")
    with torch.inference_mode():
        found, _ = masked_logits(model, Batch.of(*twice), "efficient")
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KNOWN)
def test_a_head_with_weights_of_its_own_has_dense_gradients(kind: str) -> None:
    config = copy.deepcopy(CONFIGS[kind])
    config.tie_word_embeddings = False
    torch.manual_seed(0)
    model, rows = AutoModelForMaskedLM.from_config(config).eval(), drawn(LENGTHS["short"])
    words = model.get_input_embeddings()
    assert words.weight is not model.get_output_embeddings().weight
    loss_sum, masked = masked_lm_sums(model, Batch.of(*rows), "efficient")
    assert_close(gradients(model, loss_sum / masked), gradients(model, library_loss(model, *rows)), 1e-5)
    assert not words.weight.grad.is_sparse


@pytest.mark.parametrize("forward", ["efficient", "reference"])
@pytest.mark.parametrize("kind", KNOWN)
def test_no_row_sees_another(kind: str, forward: Any) -> None:
    model, (ids, labels, lengths) = model_of(kind).double(), drawn(LENGTHS["short"])
    before, _ = masked_logits(model, Batch.of(ids, labels, lengths), forward)
    ids[: lengths[0]] = (ids[: lengths[0]] + 50) % (WORDS - 2) + 2  # a row of the length of the third
    batch = Batch.of(ids, labels, lengths)
    after, _ = masked_logits(model, batch, forward)
    changed = (after - before).abs().amax(1)
    assert changed[batch.owners != 0].max() <= 1e-12
    assert changed[batch.owners == 0].min() > 1e-4


@pytest.mark.parametrize("forward", ["efficient", "reference"])
@pytest.mark.parametrize("kind", KNOWN)
def test_rows_packed_into_blocks_have_the_logits_that_they_have_one_by_one(kind: str, forward: Any) -> None:
    model, (ids, _, lengths) = model_of(kind).double(), drawn([9, 2, 5, 9, 3, 14])
    vocabulary = Vocabulary(WORDS, 0, PAD, (0, PAD), 64, "00000000000000ab")
    rows = TokenRows(ids.astype(np.int32), np.append(0, lengths.cumsum()), lengths.astype(np.uint64), vocabulary)
    blocks = to_blocks(rows, 16)
    assert blocks.lengths.tolist() == [16, 16, 10]
    everything = Masking(rate=1.0, mask_share=0.0, random_share=0.0)
    logits, _ = masked_logits(model, masked_batch(blocks, everything, 0), forward)
    # Where a block ends within a row, what follows is a row of its own.
    parts = np.split(ids, np.union1d(rows.offsets[1:-1], blocks.offsets[1:-1]))
    alone = [model(input_ids=torch.from_numpy(part)[None]).logits[0] for part in parts]
    assert torch.allclose(logits, torch.cat(alone), atol=1e-9)
    mixed, _ = masked_logits(model, masked_batch(to_blocks(rows, 16, apart=False), everything, 0), forward)
    as_one = [model(input_ids=torch.from_numpy(part)[None]).logits[0] for part in np.split(ids, [16, 32])]
    assert torch.allclose(mixed, torch.cat(as_one), atol=1e-9)
    assert (mixed - logits).abs().max() > 0.01


@pytest.mark.parametrize("forward", ["efficient", "reference"])
@pytest.mark.parametrize("kind", KNOWN)
def test_logits_come_in_the_order_of_the_rows_given(kind: str, forward: Any) -> None:
    model, (ids, labels, lengths) = model_of(kind), drawn([9, 2, 5, 9, 3])
    logits, targets = masked_logits(model, Batch.of(ids, labels, lengths), forward)
    starts = np.cumsum(lengths) - lengths
    alone = [
        model(input_ids=torch.from_numpy(ids[start : start + length])[None]).logits[0]
        for start, length in zip(starts, lengths, strict=True)
    ]
    at = torch.from_numpy(labels) != IGNORED
    assert targets.tolist() == labels[at].tolist()
    assert torch.allclose(logits, torch.cat(alone)[at], atol=1e-5)


@pytest.mark.parametrize("forward", ["efficient", "reference"])
@pytest.mark.parametrize("kind", KNOWN)
def test_a_batch_without_a_masked_token_gives_zero_gradients_and_no_fault(kind: str, forward: Any) -> None:
    model = model_of(kind)
    loss_sum, masked = masked_lm_sums(model, Batch.of(*drawn([4, 7, 1], rate=0.0)), forward)
    found = gradients(model, loss_sum)
    assert (loss_sum.item(), int(masked)) == (0.0, 0)
    assert found.keys() == {name for name, _ in model.named_parameters()}
    assert not any(gradient.any() for gradient in found.values())


def test_a_padding_token_within_a_row_has_the_position_that_the_library_gives_it() -> None:
    model, rows = model_of("roberta"), drawn([5, 3, 5])
    rows[0][[2, 6, 8]] = PAD
    ids, _, lengths = rows
    batch = Batch.of(ids, np.where(np.arange(13) % 5 == 1, 7, IGNORED), lengths)
    ours, _ = masked_logits(model, batch, "efficient")
    inside = torch.arange(5) < torch.from_numpy(lengths)[:, None]
    input_ids = torch.full(inside.shape, PAD)
    input_ids[inside] = torch.from_numpy(ids)
    theirs = model(input_ids=input_ids, attention_mask=inside.long()).logits[inside]
    assert torch.allclose(ours, theirs[torch.arange(13) % 5 == 1], atol=1e-5)


@pytest.mark.parametrize("kind", KNOWN)
def test_dropout_is_applied_as_often_as_by_the_library(kind: str) -> None:
    """Layer norms hide the scale of what is dropped, so the mean loss tells a lost or a doubled dropout."""
    model, rows = model_of(kind, dropout=0.3), drawn([6] * 20, rate=1.0)
    batch = Batch.of(*rows)
    torch.manual_seed(1)
    spread = {
        forward: torch.stack([masked_logits(model, batch, forward)[0] for _ in range(60)]).detach().var(0).mean()
        for forward in ("efficient", "reference")
    }
    assert float(spread["efficient"]) == pytest.approx(float(spread["reference"]), rel=0.05)
    still = model.eval()
    assert torch.equal(masked_logits(still, batch)[0], masked_logits(still, batch)[0])


@pytest.mark.parametrize("kind", KNOWN)
def test_a_trained_model_is_saved_and_loaded_as_ever(kind: str, tmp_path: Path) -> None:
    model, batch = model_of(kind), Batch.of(*drawn(LENGTHS["short"]))
    keys = list(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    masked_lm_sums(model, batch)[0].backward()
    optimizer.step()
    assert list(model.state_dict()) == keys
    model.eval().save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert again.get_input_embeddings().weight is again.get_output_embeddings().weight
    assert torch.equal(masked_logits(again, batch)[0], masked_logits(model, batch)[0])


def hooked(model: Any) -> Any:
    model.base_model.embeddings.register_forward_hook(lambda *_: None)
    return model


def wrapped(model: Any) -> Any:
    class Adapter(torch.nn.Linear):
        pass

    model.base_model.encoder.layer[0].intermediate.dense = Adapter(16, 32)
    return model


def checkpointed(model: Any) -> Any:
    model.gradient_checkpointing_enable()
    return model


def chunked(model: Any) -> Any:
    model.config.chunk_size_feed_forward = 4
    return model


@pytest.mark.parametrize("change", [hooked, wrapped, checkpointed, chunked])
def test_what_is_not_as_the_library_made_it_takes_the_reference_forward(change: Callable[[Any], Any]) -> None:
    model = model_of("bert")
    assert resolve(model, "auto") == resolve(model, "efficient") == "efficient"
    assert resolve(model, "reference") == "reference"
    model = change(model)
    assert resolve(model, "auto") == "reference"
    with pytest.raises(WinnowError, match=r"training\.forward: The efficient forward cannot run this model"):
        resolve(model, "efficient")


def test_an_unknown_architecture_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(WinnowError, match=r"its class is AlbertForMaskedLM\. It knows DistilBert.*Bert.*Roberta"):
        masked_logits(model_of("albert"), Batch.of(*drawn([4])), "efficient")


@pytest.mark.parametrize("forward", ["efficient", "reference"])
def test_the_loss_is_in_float32_under_bf16_autocast(forward: Any) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = masked_logits(model_of("distilbert"), Batch.of(*drawn(LENGTHS["short"])), forward)
    assert logits.dtype is torch.float32

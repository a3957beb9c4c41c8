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
from winnow.training import (
    MaskedBatch,
    Masking,
    TokenRows,
    Vocabulary,
    masked_lm_loss_sum,
    masked_logits,
    pack_into_blocks,
)
from winnow.training.forward import linear_backend
from winnow.training.forward.masked_logits import resolve_forward
from winnow.training.masked_batch import build_masked_batch
from winnow.training.masking import IGNORE_INDEX

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
SUPPORTED = ["distilbert", "bert", "roberta"]
LENGTHS = {
    "short": [7, 9, 7, 8, 9, 9, 5],
    "equal": [6] * 8,
    "single": [1, 1, 1, 4, 1, 1],
    "mixed": [1, 40, 3, 3, 57, 12, 9, 40, 2],
}


def build_model(kind: str, dropout: float = 0.0) -> Any:
    config = copy.deepcopy(CONFIGS[kind])
    for name in ("dropout", "attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"):
        if hasattr(config, name):
            setattr(config, name, dropout)
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(config).train()


def draw_rows(lengths: Sequence[int], seed: int = 0, rate: float = 0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random tokens, labels and the lengths of rows."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(PAD + 1, WORDS, sum(lengths))
    labels = np.where(generator.random(len(ids)) < rate, generator.integers(PAD + 1, WORDS, len(ids)), IGNORE_INDEX)
    return ids, labels, np.array(lengths)


def compute_library_loss(model: Any, ids: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> torch.Tensor:
    """Return the mean loss of the library, computed from padded rows."""
    is_token = torch.arange(int(lengths.max())) < torch.from_numpy(lengths)[:, None]
    input_ids, padded_labels = torch.full(is_token.shape, PAD), torch.full(is_token.shape, IGNORE_INDEX)
    input_ids[is_token], padded_labels[is_token] = torch.from_numpy(ids), torch.from_numpy(labels)
    loss: torch.Tensor = model(input_ids=input_ids, attention_mask=is_token.long(), labels=padded_labels).loss
    return loss


def compute_gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: weights.grad.clone() for name, weights in model.named_parameters() if weights.grad is not None}


def assert_close(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        if gradient.norm() > 1e-8:
            assert (actual[name] - gradient).norm() <= tolerance * gradient.norm(), name


@pytest.fixture
def onednn(tmp_path: Path) -> Iterator[Callable[[Any], None]]:
    """Return a function that enables oneDNN for all linear layers of a model."""
    if not linear_backend.is_onednn_usable():
        pytest.skip("this build of PyTorch has no oneDNN")
    yield lambda model: linear_backend.choose_backends(model, 64, 16, "onednn", tmp_path)  # type: ignore[misc]
    linear_backend.choose_backends(torch.nn.Linear(1, 1), 1, 1, "portable", tmp_path)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("kind", SUPPORTED)
def test_loss_and_gradients_match_the_library_with_onednn(
    kind: str, lengths: str, onednn: Callable[[Any], None]
) -> None:
    onednn(build_model(kind))
    assert linear_backend.list_onednn_matmuls()
    test_loss_and_gradients_match_the_library(kind, lengths)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("kind", CONFIGS)
def test_loss_and_gradients_match_the_library(kind: str, lengths: str) -> None:
    model, rows = build_model(kind), draw_rows(LENGTHS[lengths])
    assert resolve_forward(model, "auto") == ("efficient" if kind in SUPPORTED else "reference")
    loss_sum, masked = masked_lm_loss_sum(model, MaskedBatch.from_flat_tokens(*rows))
    loss, expected = loss_sum / masked, compute_library_loss(model, *rows)
    assert int(masked) == (rows[1] != IGNORE_INDEX).sum() > 0
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert_close(compute_gradients(model, loss), compute_gradients(model, expected), 1e-5)


@pytest.mark.parametrize("kind", SUPPORTED)
def test_20_steps_have_the_weights_of_the_library(kind: str) -> None:
    def train(compute_loss: Callable[[Any, Any], torch.Tensor]) -> Any:
        model = build_model(kind).double()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for step in range(20):
            optimizer.zero_grad()
            compute_loss(model, draw_rows(LENGTHS["mixed"], seed=step)).backward()
            optimizer.step()
        return model

    def compute_efficient_loss(model: Any, rows: Any) -> torch.Tensor:
        loss_sum, masked = masked_lm_loss_sum(model, MaskedBatch.from_flat_tokens(*rows), "efficient")
        return loss_sum / masked

    actual, expected = train(compute_efficient_loss), train(lambda model, rows: compute_library_loss(model, *rows))
    for name, weights in expected.state_dict().items():
        assert (weights - actual.state_dict()[name]).abs().max() <= 1e-10, name
    assert (expected.state_dict()[name] - build_model(kind).state_dict()[name]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", SUPPORTED)
def test_dropped_rows_do_not_change_gradients(kind: str) -> None:
    """The library computes rows without masked tokens; the efficient forward pass drops them."""
    model, (ids, labels, lengths) = build_model(kind), draw_rows([6, 4, 6, 9, 2])
    labels[6:10] = labels[16:25] = IGNORE_INDEX
    batch = MaskedBatch.from_flat_tokens(ids, labels, lengths)
    assert len(batch.input_ids) <= 14
    loss_sum, masked = masked_lm_loss_sum(model, batch, "efficient")
    expected = compute_library_loss(model, ids, labels, lengths)
    assert_close(compute_gradients(model, loss_sum / masked), compute_gradients(model, expected), 1e-5)


@pytest.mark.parametrize("kind", SUPPORTED)
def test_duplicate_tokens_have_the_logits_of_the_reference(kind: str) -> None:
    """Without gradients, the first layer projects equal tokens at equal positions only once."""
    model, (ids, labels, lengths) = build_model(kind), draw_rows([6, 4, 6, 9, 2])
    twice = (np.tile(ids, 2), np.tile(labels, 2), np.tile(lengths, 2))
    expected, _ = masked_logits(model, MaskedBatch.from_flat_tokens(*twice), "reference")
    with torch.inference_mode():
        actual, _ = masked_logits(model, MaskedBatch.from_flat_tokens(*twice), "efficient")
    assert torch.allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", SUPPORTED)
def test_an_untied_head_has_dense_gradients(kind: str) -> None:
    config = copy.deepcopy(CONFIGS[kind])
    config.tie_word_embeddings = False
    torch.manual_seed(0)
    model, rows = AutoModelForMaskedLM.from_config(config).eval(), draw_rows(LENGTHS["short"])
    embeddings = model.get_input_embeddings()
    assert embeddings.weight is not model.get_output_embeddings().weight
    loss_sum, masked = masked_lm_loss_sum(model, MaskedBatch.from_flat_tokens(*rows), "efficient")
    assert_close(
        compute_gradients(model, loss_sum / masked), compute_gradients(model, compute_library_loss(model, *rows)), 1e-5
    )
    assert not embeddings.weight.grad.is_sparse


@pytest.mark.parametrize("forward", ["efficient", "reference"])
@pytest.mark.parametrize("kind", SUPPORTED)
def test_rows_do_not_attend_to_each_other(kind: str, forward: Any) -> None:
    model, (ids, labels, lengths) = build_model(kind).double(), draw_rows(LENGTHS["short"])
    before, _ = masked_logits(model, MaskedBatch.from_flat_tokens(ids, labels, lengths), forward)
    ids[: lengths[0]] = (ids[: lengths[0]] + 50) % (WORDS - 2) + 2  # this row is as long as the third one
    batch = MaskedBatch.from_flat_tokens(ids, labels, lengths)
    after, _ = masked_logits(model, batch, forward)
    changed = (after - before).abs().amax(1)
    assert changed[batch.masked_rows != 0].max() <= 1e-12
    assert changed[batch.masked_rows == 0].min() > 1e-4


@pytest.mark.parametrize("forward", ["efficient", "reference"])
@pytest.mark.parametrize("kind", SUPPORTED)
def test_packed_rows_have_the_logits_of_separate_rows(kind: str, forward: Any) -> None:
    model, (ids, _, lengths) = build_model(kind).double(), draw_rows([9, 2, 5, 9, 3, 14])
    vocabulary = Vocabulary(WORDS, 0, PAD, (0, PAD), 64, "00000000000000ab")
    rows = TokenRows(ids.astype(np.int32), np.append(0, lengths.cumsum()), lengths.astype(np.uint64), vocabulary)
    blocks = pack_into_blocks(rows, 16)
    assert blocks.lengths.tolist() == [16, 16, 10]
    label_all = Masking(rate=1.0, mask_share=0.0, random_share=0.0)
    logits, _ = masked_logits(model, build_masked_batch(blocks, label_all, 0), forward)
    # A block border inside a row starts a new sequence.
    sequences = np.split(ids, np.union1d(rows.offsets[1:-1], blocks.offsets[1:-1]))
    expected = [model(input_ids=torch.from_numpy(tokens)[None]).logits[0] for tokens in sequences]
    assert torch.allclose(logits, torch.cat(expected), atol=1e-9)
    joined, _ = masked_logits(
        model, build_masked_batch(pack_into_blocks(rows, 16, isolate_rows=False), label_all, 0), forward
    )
    expected = [model(input_ids=torch.from_numpy(block)[None]).logits[0] for block in np.split(ids, [16, 32])]
    assert torch.allclose(joined, torch.cat(expected), atol=1e-9)
    assert (joined - logits).abs().max() > 0.01


@pytest.mark.parametrize("forward", ["efficient", "reference"])
@pytest.mark.parametrize("kind", SUPPORTED)
def test_logits_keep_the_order_of_the_input_rows(kind: str, forward: Any) -> None:
    model, (ids, labels, lengths) = build_model(kind), draw_rows([9, 2, 5, 9, 3])
    logits, targets = masked_logits(model, MaskedBatch.from_flat_tokens(ids, labels, lengths), forward)
    starts = np.cumsum(lengths) - lengths
    expected = [
        model(input_ids=torch.from_numpy(ids[start : start + length])[None]).logits[0]
        for start, length in zip(starts, lengths, strict=True)
    ]
    is_masked = torch.from_numpy(labels) != IGNORE_INDEX
    assert targets.tolist() == labels[is_masked].tolist()
    assert torch.allclose(logits, torch.cat(expected)[is_masked], atol=1e-5)


@pytest.mark.parametrize("forward", ["efficient", "reference"])
@pytest.mark.parametrize("kind", SUPPORTED)
def test_a_batch_without_masked_tokens_has_zero_gradients(kind: str, forward: Any) -> None:
    model = build_model(kind)
    loss_sum, masked = masked_lm_loss_sum(model, MaskedBatch.from_flat_tokens(*draw_rows([4, 7, 1], rate=0.0)), forward)
    gradients = compute_gradients(model, loss_sum)
    assert (loss_sum.item(), int(masked)) == (0.0, 0)
    assert gradients.keys() == {name for name, _ in model.named_parameters()}
    assert not any(gradient.any() for gradient in gradients.values())


def test_position_ids_of_roberta_with_padding_tokens_inside_a_row_match_the_library() -> None:
    model, rows = build_model("roberta"), draw_rows([5, 3, 5])
    rows[0][[2, 6, 8]] = PAD
    ids, _, lengths = rows
    batch = MaskedBatch.from_flat_tokens(ids, np.where(np.arange(13) % 5 == 1, 7, IGNORE_INDEX), lengths)
    actual, _ = masked_logits(model, batch, "efficient")
    is_token = torch.arange(5) < torch.from_numpy(lengths)[:, None]
    input_ids = torch.full(is_token.shape, PAD)
    input_ids[is_token] = torch.from_numpy(ids)
    expected = model(input_ids=input_ids, attention_mask=is_token.long()).logits[is_token]
    assert torch.allclose(actual, expected[torch.arange(13) % 5 == 1], atol=1e-5)


@pytest.mark.parametrize("kind", SUPPORTED)
def test_dropout_has_the_variance_of_the_library(kind: str) -> None:
    """A missing or doubled dropout changes the variance of the logits over repeated forward passes."""
    model, rows = build_model(kind, dropout=0.3), draw_rows([6] * 20, rate=1.0)
    batch = MaskedBatch.from_flat_tokens(*rows)
    torch.manual_seed(1)
    variances = {
        forward: torch.stack([masked_logits(model, batch, forward)[0] for _ in range(60)]).detach().var(0).mean()
        for forward in ("efficient", "reference")
    }
    assert float(variances["efficient"]) == pytest.approx(float(variances["reference"]), rel=0.05)
    model.eval()
    assert torch.equal(masked_logits(model, batch)[0], masked_logits(model, batch)[0])


@pytest.mark.parametrize("kind", SUPPORTED)
def test_a_trained_model_is_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    model, batch = build_model(kind), MaskedBatch.from_flat_tokens(*draw_rows(LENGTHS["short"]))
    keys = list(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    masked_lm_loss_sum(model, batch)[0].backward()
    optimizer.step()
    assert list(model.state_dict()) == keys
    model.eval().save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight
    assert torch.equal(masked_logits(loaded, batch)[0], masked_logits(model, batch)[0])


def add_hook(model: Any) -> Any:
    model.base_model.embeddings.register_forward_hook(lambda *_: None)
    return model


def replace_layer(model: Any) -> Any:
    class Adapter(torch.nn.Linear):
        pass

    model.base_model.encoder.layer[0].intermediate.dense = Adapter(16, 32)
    return model


def enable_checkpointing(model: Any) -> Any:
    model.gradient_checkpointing_enable()
    return model


def enable_chunking(model: Any) -> Any:
    model.config.chunk_size_feed_forward = 4
    return model


@pytest.mark.parametrize("change", [add_hook, replace_layer, enable_checkpointing, enable_chunking])
def test_modified_models_use_the_reference_forward_pass(change: Callable[[Any], Any]) -> None:
    model = build_model("bert")
    assert resolve_forward(model, "auto") == resolve_forward(model, "efficient") == "efficient"
    assert resolve_forward(model, "reference") == "reference"
    model = change(model)
    assert resolve_forward(model, "auto") == "reference"
    with pytest.raises(WinnowError, match=r"training\.forward: the efficient forward pass does not support this model"):
        resolve_forward(model, "efficient")


def test_an_unsupported_architecture_is_an_error_with_the_supported_ones() -> None:
    with pytest.raises(WinnowError, match=r"its class is AlbertForMaskedLM\. It supports .*DistilBert.*Bert.*Roberta"):
        masked_logits(build_model("albert"), MaskedBatch.from_flat_tokens(*draw_rows([4])), "efficient")


@pytest.mark.parametrize("forward", ["efficient", "reference"])
def test_the_loss_is_in_float32_under_bf16_autocast(forward: Any) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = masked_logits(
            build_model("distilbert"), MaskedBatch.from_flat_tokens(*draw_rows(LENGTHS["short"])), forward
        )
    assert logits.dtype is torch.float32

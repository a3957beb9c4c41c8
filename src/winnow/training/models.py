"""The models that can be trained: one as it came, or a small one from scratch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.data import Corpus

_STRICT = ConfigDict(extra="forbid")
_Count = Annotated[int, Field(gt=0)]


class Model(ABC):
    """A masked language model and its tokenizer, not loaded yet."""

    @abstractmethod
    def tokenizer(self, corpus: Corpus, cache_dir: Path) -> PreTrainedTokenizerFast:
        """Return the one tokenizer of a study over this corpus.

        Raises:
            WinnowError: It cannot be had, or cannot mask.
        """

    @abstractmethod
    def load(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
        """Return a fresh masked language model on the CPU, in evaluation mode.

        Args:
            tokenizer: What :meth:`tokenizer` returned.
            seed: Decides weights that are drawn; the global random state is left as it was.

        Raises:
            WinnowError: It cannot be had, is no masked language model, or does not fit the tokenizer.
        """

    def check(self) -> list[WinnowError]:
        """Return what can be known to be at fault before any work."""
        return []


@dataclass(frozen=True, config=_STRICT)
class Scratch(Model):
    """A small DistilBERT with random weights and a WordPiece tokenizer of the corpus; needs no network.

    Attributes:
        vocabulary_size: Tokens at most; a corpus with fewer words has fewer.
        layers: Transformer layers.
        hidden_size: Width of a token's state; the feed-forward part is four times as wide.
        heads: Attention heads; they share the width evenly.
        max_length: The longest input, in tokens.
        dropout: Chance of a state or an attention weight to be dropped in training.
    """

    vocabulary_size: Annotated[int, Field(ge=64)] = 8192
    layers: _Count = 2
    hidden_size: _Count = 128
    heads: _Count = 4
    max_length: Annotated[int, Field(gt=2)] = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads:
            raise WinnowError(
                f"{self.heads} heads cannot share a hidden_size of {self.hidden_size} evenly. "
                "Give a number that divides it.",
                key="heads",
            )

    def tokenizer(self, corpus: Corpus, cache_dir: Path) -> PreTrainedTokenizerFast:
        """Train a tokenizer on the corpus' train split, before any filter, or open the one from the cache."""
        from transformers import AutoTokenizer

        from winnow.data.cache import intact, published
        from winnow.data.fingerprint import fingerprint
        from winnow.training.wordpiece import train_wordpiece

        name = fingerprint("wordpiece", corpus.fingerprint, self.vocabulary_size, self.max_length)
        folder = cache_dir / "tokenizer" / name
        if not intact(folder):
            texts = corpus.split("train")["text"].to_pylist()
            with published(folder) as draft:
                train_wordpiece(texts, self.vocabulary_size, self.max_length).save_pretrained(draft)
        return AutoTokenizer.from_pretrained(folder)

    def load(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
        """Return a model with weights drawn from the seed."""
        import torch
        from transformers import DistilBertConfig, DistilBertForMaskedLM

        config = DistilBertConfig(
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            n_layers=self.layers,
            dim=self.hidden_size,
            hidden_dim=4 * self.hidden_size,
            n_heads=self.heads,
            max_position_embeddings=self.max_length,
            dropout=self.dropout,
            attention_dropout=self.dropout,
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return DistilBertForMaskedLM(config).eval()

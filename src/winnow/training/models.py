"""The interface for trainable models, and a small model with random weights."""

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

_FORBID_EXTRA_FIELDS = ConfigDict(extra="forbid")
_Layers = Annotated[int, Field(gt=0, le=1_000)]
_Size = Annotated[int, Field(gt=0, le=65_536)]


class Model(ABC):
    """Interface for a trainable masked language model and its tokenizer."""

    @abstractmethod
    def tokenizer(self, corpus: Corpus, cache_dir: Path) -> PreTrainedTokenizerFast:
        """Return the tokenizer, which all runs of a study share.

        Args:
            corpus: The unfiltered corpus.
            cache_dir: The cache folder.

        Raises:
            WinnowError: If the tokenizer cannot be loaded or has no mask token.
        """

    @abstractmethod
    def load(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
        """Return a new masked language model on the CPU, in evaluation mode.

        Args:
            tokenizer: The tokenizer returned by :meth:`tokenizer`.
            seed: The seed for the random weights; the global random state is restored afterwards.

        Raises:
            WinnowError: If the model cannot be loaded, is not a masked language model, or does not match the tokenizer.
        """

    def check(self) -> list[WinnowError]:
        """Return the errors that can be detected without loading the model."""
        return []


@dataclass(frozen=True, config=_FORBID_EXTRA_FIELDS)
class Scratch(Model):
    """A small DistilBERT with random weights and a WordPiece tokenizer trained on the corpus; needs no network access.

    Attributes:
        vocabulary_size: Maximum number of tokens in the vocabulary; a small corpus may result in fewer tokens.
        layers: Number of transformer layers.
        hidden_size: Size of the hidden states; the feed-forward layers are four times as wide.
        heads: Number of attention heads; must be a divisor of ``hidden_size``.
        max_length: Maximum input length, in tokens.
        dropout: Dropout probability of hidden states and attention weights.
    """

    vocabulary_size: Annotated[int, Field(ge=64, le=10**7)] = 8192
    layers: _Layers = 2
    hidden_size: _Size = 128
    heads: _Size = 4
    max_length: Annotated[int, Field(gt=2, le=10**6)] = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads:
            raise WinnowError(
                f"expected a divisor of hidden_size ({self.hidden_size}), got {self.heads}. Change either value.",
                key="heads",
            )

    def tokenizer(self, corpus: Corpus, cache_dir: Path) -> PreTrainedTokenizerFast:
        """Train a tokenizer on the unfiltered train split of the corpus, or load it from the cache."""
        from transformers import AutoTokenizer

        from winnow.data.cache import is_intact, publish_folder
        from winnow.data.fingerprint import fingerprint
        from winnow.training.wordpiece import train_wordpiece

        cache_key = fingerprint("wordpiece", corpus.fingerprint, self.vocabulary_size, self.max_length)
        folder = cache_dir / "tokenizer" / cache_key
        if not is_intact(folder):
            texts = corpus.split("train")["text"].to_pylist()
            with publish_folder(folder) as draft:
                train_wordpiece(texts, self.vocabulary_size, self.max_length).save_pretrained(draft)
        return AutoTokenizer.from_pretrained(folder)

    def load(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
        """Return a model with random weights that depend only on the seed."""
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

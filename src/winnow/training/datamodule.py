"""Rows in, batches out: what Lightning's trainer is fed with."""

from __future__ import annotations

import pytorch_lightning as pl

from winnow.training.batching import HeldOutBatches, Share, TrainingBatches
from winnow.training.masking import Masking
from winnow.training.tokens import TokenRows


class MaskedLanguageDataModule(pl.LightningDataModule):
    """Feeds the same rows to every optimizer step, however many processes share them.

    One of Lightning's epochs is the whole budget where ``max_steps`` is given, else one pass over the rows.
    The trainer must have ``use_distributed_sampler=False``: these batches are shared out already.

    Args:
        train: The training rows.
        validation: The held-out rows watched during training.
        masking: Draws the masks of the training rows, anew for every pass. The held-out rows have BERT's own, fixed, so
            that curves compare whatever an arm's masking.
        batch_size: Training rows of an optimizer step, over all processes and accumulated batches.
        seed: Seeds the order and the masks of the training rows.
        validation_seed: Seeds the fixed masks of the held-out rows; the same for every arm and seed of a
            study.
        validation_batch_size: Held-out rows in a batch.
        max_tokens: Tokens of an optimizer step, where it is they that count and not rows.
    """

    def __init__(
        self,
        train: TokenRows,
        validation: TokenRows,
        masking: Masking,
        batch_size: int,
        seed: int,
        validation_seed: int = 0,
        validation_batch_size: int = 64,
        max_tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.train, self.validation, self.masking = train, validation, masking
        self.batch_size, self.max_tokens, self.seed = batch_size, max_tokens, seed
        self.validation_seed, self.validation_batch_size = validation_seed, validation_batch_size

    def train_dataloader(self) -> TrainingBatches:
        """Return this process' share of every step."""
        trainer = self.trainer
        steps = trainer.max_steps if trainer.max_steps > 0 else -(-len(self.train) // self.batch_size)
        share = self._share(trainer.accumulate_grad_batches)
        overfit = trainer.overfit_batches
        only_first = int(overfit if overfit >= 1 else overfit * steps * share.accumulate)
        return TrainingBatches(
            self.train,
            self.masking,
            self.seed,
            self.batch_size,
            steps,
            share,
            only_first if overfit > 0 else None,
            self.max_tokens,
        )

    def val_dataloader(self) -> HeldOutBatches:
        """Return this process' share of the held-out rows."""
        return HeldOutBatches(
            self.validation, Masking(), self.validation_seed, self.validation_batch_size, self._share()
        )

    def _share(self, accumulate: int = 1) -> Share:
        return Share(self.trainer.global_rank, self.trainer.world_size, accumulate)

"""A Lightning data module for masked language modeling."""

from __future__ import annotations

import pytorch_lightning as pl

from winnow.training.dataloaders import HeldOutBatches, Shard, TrainingBatches
from winnow.training.masking import Masking
from winnow.training.tokenization import TokenRows


class MaskedLanguageDataModule(pl.LightningDataModule):
    """Provides training and validation batches. The rows of an optimizer step do not depend on the number of processes.

    A Lightning epoch covers all steps if the trainer sets ``max_steps``; otherwise, it covers one pass over the rows.
    The trainer needs ``use_distributed_sampler=False``, because the loaders already shard the rows.

    Args:
        train: The training rows.
        validation: The rows of the validation split.
        masking: The masking rule for the training rows, which draws new masks in every epoch. The validation rows
            always have fixed masks drawn by BERT's masking rule, so that validation curves are comparable between arms.
        batch_size: Training rows per optimizer step, across all processes and accumulated batches.
        seed: The seed for the order and the masks of the training rows.
        validation_seed: The seed for the fixed masks of the validation rows; it is the same for all arms and seeds of a
            study.
        validation_batch_size: Validation rows per batch.
        max_tokens: Maximum number of tokens per optimizer step; if it is set, ``batch_size`` is ignored.
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
        """Return the training batches of this process."""
        trainer = self.trainer
        steps = trainer.max_steps if trainer.max_steps > 0 else -(-len(self.train) // self.batch_size)
        shard = self._build_shard(trainer.accumulate_grad_batches)
        overfit_batches = trainer.overfit_batches  # Lightning accepts a number or a fraction of batches
        repeat_first = int(
            overfit_batches if overfit_batches >= 1 else overfit_batches * steps * shard.accumulate_batches
        )
        return TrainingBatches(
            self.train,
            self.masking,
            self.seed,
            self.batch_size,
            steps,
            shard,
            repeat_first if overfit_batches > 0 else None,
            self.max_tokens,
        )

    def val_dataloader(self) -> HeldOutBatches:
        """Return the validation batches of this process."""
        return HeldOutBatches(
            self.validation, Masking(), self.validation_seed, self.validation_batch_size, self._build_shard()
        )

    def _build_shard(self, accumulate: int = 1) -> Shard:
        return Shard(self.trainer.global_rank, self.trainer.world_size, accumulate)

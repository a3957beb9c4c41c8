"""Which tokens the model must guess, and what it sees in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from winnow.training.tokens import TokenRows

IGNORED = -100
"""The label of a token that is not to be guessed; what PyTorch's cross entropy leaves out by default."""

_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Masking:
    """Dynamic masking of single tokens, as BERT does it (Devlin et al. 2019, 3.1).

    Each token that is not special is chosen with chance ``rate``, independently. Of the chosen tokens
    ``mask_share`` become the mask token, ``random_share`` a token drawn evenly from those that are not
    special, and the rest stay as they are.

    Attributes:
        rate: The chance of a token to be chosen.
        mask_share: Share of the chosen tokens that the mask token replaces.
        random_share: Share of the chosen tokens that a random token replaces.
    """

    rate: Annotated[float, Field(gt=0, le=1)] = 0.15
    mask_share: _Share = 0.8
    random_share: _Share = 0.1

    def __post_init__(self) -> None:
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise WinnowError(
                f"mask_share ({self.mask_share}) and random_share ({self.random_share}) are shares of the "
                "same tokens, so together they may be at most 1. Lower one of them.",
                key="random_share",
            )

    def draw(
        self, rows: TokenRows, seed: int, epoch: int | npt.NDArray[np.integer] = 0
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Mask rows: a pure function of seed, epoch, row, position in the row and tokenizer.

        Args:
            rows: The rows, without padding.
            seed: Seed of the run, or of the fixed masks on held-out rows.
            epoch: How often these rows were seen before: one number, or one for each row.

        Returns:
            What the model sees and what it must guess (:data:`IGNORED` elsewhere), each of shape
            ``(tokens,)``.
        """
        import numpy as np

        from winnow.training.counter import key, uniform

        vocabulary = rows.vocabulary
        keys = np.broadcast_to(key(seed, int(vocabulary.fingerprint, 16), epoch, rows.keys), len(rows))
        tokens, counters = np.repeat(keys, rows.lengths), 3 * rows.positions
        at = np.flatnonzero((uniform(tokens, counters) < self.rate) & ~vocabulary.is_special[rows.ids])

        tokens, counters = tokens[at], counters[at]
        fate = uniform(tokens, counters + 1)
        masked = fate < self.mask_share
        replaced = ~masked & (fate < self.mask_share + self.random_share)
        drawn = (uniform(tokens, counters + 2) * len(vocabulary.ordinary)).astype(np.int64)
        original = rows.ids[at]
        seen = np.where(masked, vocabulary.mask_id, np.where(replaced, vocabulary.ordinary[drawn], original))

        input_ids = np.array(rows.ids, dtype=np.int32)
        input_ids[at] = seen
        labels = np.full(len(rows.ids), IGNORED, dtype=np.int64)
        labels[at] = original
        return input_ids, labels

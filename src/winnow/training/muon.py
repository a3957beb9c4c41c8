"""Muon for the weight matrices of the hidden layers, and AdamW for all other parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import AdamW, Muon, Optimizer


class MuonWithAdamW(Optimizer):
    """Updates the hidden weight matrices with `torch.optim.Muon` and all other parameters with `torch.optim.AdamW`.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) orthogonalizes the update of a matrix, so that
    all directions are learned at the same rate. It is not meant for embeddings, the vocabulary head, biases and layer
    norms. The updates equal those of PyTorch's two optimizers on their parameters.

    Args:
        params: Parameter groups. Groups with the entry ``"hidden": True`` consist of weight matrices of hidden layers;
            :func:`winnow.training.optimization.build_parameter_groups` sets this entry.
        lr: Learning rate of Muon, scaled so that the updates have the size of AdamW's updates at the same rate (Liu et
            al. 2025, https://arxiv.org/abs/2502.16982, section 2.2).
        adamw_lr: Learning rate of AdamW.
        weight_decay: Weight decay of both optimizers, unless a group sets its own.
        momentum: Momentum of Muon.
        betas: Coefficients of AdamW for the moving averages of the gradient and its square.
        ns_steps: Newton-Schulz iterations per update of Muon. Fewer iterations are faster and less accurate.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 1.6e-2,
        adamw_lr: float = 1e-2,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        ns_steps: int = 5,
    ) -> None:
        groups = [{"hidden": False, **group} for group in params]
        muon = Muon(
            _select_groups(groups, True), lr, weight_decay, momentum, ns_steps=ns_steps, adjust_lr_fn="match_rms_adamw"
        )
        adamw = AdamW(_select_groups(groups, False), adamw_lr, betas, weight_decay=weight_decay, fused=True)
        # The hidden matrices come first, so that the learning rate of the first group is `lr`.
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self._link_optimizers()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state, for example from a checkpoint."""
        super().__setstate__(state)
        self._link_optimizers()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters; `closure` computes the loss and the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adamw.step()
        return loss

    def _link_optimizers(self) -> None:
        """Create the two optimizers from the groups of this optimizer, which contain all settings, and its state."""
        self._muon = Muon(_select_groups(self.param_groups, True))
        self._adamw = AdamW(_select_groups(self.param_groups, False))
        self._muon.state = self._adamw.state = self.state


def _select_groups(groups: list[dict[str, Any]], hidden: bool) -> list[dict[str, Any]]:
    """Return the groups of hidden matrices or all other groups, or a group without parameters if there are none."""
    return [group for group in groups if group["hidden"] == hidden] or [{"params": [], "hidden": hidden}]

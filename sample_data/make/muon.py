"""Muon (Keller Jordan, 2024): momentum, then the nearest orthogonal matrix; equal shapes are stacked for speed."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def orthogonalised(g: torch.Tensor) -> torch.Tensor:
    """Newton-Schulz, five rounds: a stack of matrices (k, m, n) with singular values pushed towards 1."""
    x: torch.Tensor = g / (g.norm(dim=(1, 2), keepdim=True) + 1e-7)
    turned = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if turned else x
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x  # coefficients of the reference code
    return x.transpose(1, 2) if turned else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for 2-D parameters."""

    def __init__(self, params: Iterable[torch.Tensor], lr: float, momentum: float = 0.95, decay: float = 0.01) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.Tensor]] = {}
            for p in group["params"]:
                shapes.setdefault(p.shape, []).append(p)
            for same in shapes.values():
                self._update(same, group["lr"], group["momentum"], group["decay"])

    def _update(self, params: list[torch.Tensor], lr: float, momentum: float, decay: float) -> None:
        """Update parameters of one shape."""
        directions = []
        for p in params:
            assert p.grad is not None
            buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
            buffer.lerp_(p.grad, 1 - momentum)
            directions.append(p.grad.lerp(buffer, momentum))
        rows, columns = params[0].shape
        scale = max(1.0, rows / columns) ** 0.5
        for p, update in zip(params, orthogonalised(torch.stack(directions)), strict=True):
            p.mul_(1 - lr * decay).add_(update, alpha=-lr * scale)

"""The last projection of a model in float32: in bfloat16, log-odds lie on a grid so coarse that labels tie exactly."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear

ROWS = 16_384  # of the vocabulary that are converted at once where there is no memory for a copy of all
SHARE = 0.25  # of the free memory that a copy may take


class Float32Head:
    """Has a model compute its logits in float32 from the weights it has, for as long as it is asked to.

    The weights are kept in float32 beside the model's own where memory allows, else converted in blocks at each call.
    Scaling or capping of the logits stays the model's business, now in float32 too.
    """

    def __init__(self, model: Any, free_bytes: int) -> None:
        head = model.get_output_embeddings()
        plain = type(head) is nn.Linear and head.weight.is_floating_point()
        self._head: nn.Linear | None = head if plain and head.weight.dtype != torch.float32 else None
        self._copy: torch.Tensor | None = None
        if self._head is not None and self._head.weight.numel() * 4 < SHARE * free_bytes:
            self._copy = self._head.weight.detach().float()

    @contextmanager
    def projecting(self) -> Iterator[None]:
        """Put the projection in float32 into the model meanwhile."""
        if self._head is None:
            yield
            return
        own = self._head.__dict__
        before = own.get("forward")  # where a library has put its own
        own["forward"] = self._project
        try:
            yield
        finally:
            del own["forward"]
            if before is not None:
                own["forward"] = before

    def _project(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits in float32, of shape (..., vocabulary)."""
        assert self._head is not None
        weight, bias = self._head.weight, self._head.bias
        hidden = hidden.float()
        if self._copy is not None:
            logits = linear(hidden, self._copy)
        else:
            blocks = [weight[start : start + ROWS] for start in range(0, len(weight), ROWS)]
            logits = torch.cat([linear(hidden, rows.float()) for rows in blocks], dim=-1)
        return logits if bias is None else logits + bias.float()

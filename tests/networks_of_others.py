"""Networks that this package did not make, and whose order of registration says nothing."""

from __future__ import annotations

from torch import Tensor, nn


class HeadFirst(nn.Module):
    """The output layer is registered first, a layer that is never called last."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body, self.unused = nn.Linear(4, 2), nn.Linear(3, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu())


class Recurrent(nn.Module):
    """A recurrent layer under a head."""

    def __init__(self, kind: type[nn.RNNBase], layers: int = 1) -> None:
        super().__init__()
        self.head, self.cells = nn.Linear(4, 2), kind(3, 4, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0][:, -1])

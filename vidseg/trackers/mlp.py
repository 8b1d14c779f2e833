"""The multi-layer perceptron of the heads; parameter names follow the official checkpoints."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from vidseg.memory.linear import Activation, Linear


class MLP(nn.Module):
    """Linear layers with an activation between them: `... x in_dim` to `... x out_dim`."""

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int,
        out_dim: int,
        num_layers: int,
        activation: Activation = "relu",
        sigmoid_output: bool = False,
    ) -> None:
        super().__init__()
        dims = [in_dim, *[hidden_dim] * (num_layers - 1), out_dim]
        last = num_layers - 1
        self.layers = nn.ModuleList(
            Linear(a, b, "none" if index == last else activation)
            for index, (a, b) in enumerate(itertools.pairwise(dims))
        )
        self.sigmoid_output = sigmoid_output

    def activate_with(self, activation: Activation) -> None:
        """Put another activation between the layers."""
        for layer in self.layers[:-1]:
            assert isinstance(layer, Linear)
            layer.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x.sigmoid() if self.sigmoid_output else x

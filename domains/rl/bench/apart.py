"""A stack of perceptrons taken apart into networks of ``nn.Linear``, and put together again."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from guided.nets.stacked import StackedMLP


def apart(stacked: StackedMLP) -> list[nn.Sequential]:
    """Return the perceptrons of a stack, with copies of its weights.

    They take contexts and queries side by side, (B, context + query), and return (B, 1).
    """
    first: Tensor = stacked.context
    if stacked.query is not None:
        first = torch.cat([first, stacked.query], 1)
    layers = [(first, stacked.bias)]
    for layer in stacked.layers:
        layers.append((layer.get_parameter("weight"), layer.get_parameter("bias")))
    return [_perceptron([(w[i].T, b[i, 0]) for w, b in layers]) for i in range(stacked.n)]


@torch.no_grad()
def together(nets: Sequence[nn.Sequential], stacked: StackedMLP) -> None:
    """Copy the weights of perceptrons, as :func:`apart` makes them, into a stack."""
    for i, net in enumerate(nets):
        first, *others = [layer for layer in net if isinstance(layer, nn.Linear)]
        size = stacked.context.shape[1]
        stacked.context[i] = first.weight[:, :size].T
        if stacked.query is not None:
            stacked.query[i] = first.weight[:, size:].T
        stacked.bias[i, 0] = first.bias
        for layer, other in zip(stacked.layers, others, strict=True):
            layer.get_parameter("weight")[i] = other.weight.T
            layer.get_parameter("bias")[i, 0] = other.bias


def _perceptron(layers: list[tuple[Tensor, Tensor]]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for weight, bias in layers:
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": weight, "bias": bias})
        parts += [linear, nn.ReLU()]
    return nn.Sequential(*parts[:-1])

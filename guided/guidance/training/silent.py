"""Networks that start as the constant 0, so that what they are added to starts unchanged."""

from torch import nn

LAST = ("outlet", "out")  # what the networks of guided.nets call their last layer


def silenced(net: nn.Module) -> nn.Module:
    """Set a network's last layer to zero, in place, and return the network.

    Args:
        net: one whose last layer is its attribute ``outlet`` or ``out``, as in :mod:`guided.nets`.

    Raises:
        TypeError: for a network without one.
    """
    layer = next((getattr(net, name) for name in LAST if hasattr(net, name)), None)
    if not isinstance(layer, nn.Module):
        raise TypeError(
            f"{type(net).__name__} has no last layer named {' or '.join(LAST)} that could start at "
            f"zero; name it so"
        )
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return net

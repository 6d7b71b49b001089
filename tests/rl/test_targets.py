"""n-step targets against the definition, written as loops."""

import pytest
import torch

from domains.rl.critics.targets import targets
from domains.rl.data.offline import OfflineData


def episodes(lengths, terminal, seed=0):
    """Return data with random rewards; ``terminal[e]`` says how episode e ended."""
    generator = torch.Generator().manual_seed(seed)
    n, e = sum(lengths), len(lengths)
    starts = torch.tensor([0, *lengths]).cumsum(0)
    terminals, timeouts = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    for stop, ended in zip(starts[1:], terminal, strict=True):
        (terminals if ended else timeouts)[stop - 1] = True
    return OfflineData(
        states=torch.randn(n + e, 3, generator=generator),
        actions=torch.randn(n, 2, generator=generator),
        rewards=torch.randn(n, generator=generator),
        terminals=terminals,
        timeouts=timeouts,
        starts=starts,
        low=-torch.ones(2),
        high=torch.ones(2),
        name="made",
    )


@pytest.mark.parametrize("n", [1, 3, None])
@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_targets_are_their_definition(n, gamma):
    data = episodes([4, 1, 7], [True, False, False])
    got = targets(data, gamma, n)
    for e in range(data.episodes):
        first, stop = data.starts[e].item(), data.starts[e + 1].item()
        for i in range(first, stop):
            m = min(n or stop, stop - i)
            reward = sum(gamma**k * data.rewards[i + k].item() for k in range(m))
            ended = i + m == stop and data.terminals[stop - 1].item()
            assert got.rewards[i].item() == pytest.approx(reward, abs=1e-5)
            assert got.discounts[i].item() == pytest.approx(0 if ended else gamma**m)
            assert got.reached[i].item() == i + e + m


def test_a_timeout_goes_on_and_a_terminal_does_not():
    cut, ended = (targets(episodes([5], [t]), 0.9) for t in (False, True))
    assert cut.discounts.tolist() == pytest.approx([0.9] * 5)
    assert ended.discounts.tolist() == pytest.approx([0.9] * 4 + [0.0])


@pytest.mark.parametrize(("gamma", "n"), [(0.0, 1), (1.1, 1), (0.9, 0)])
def test_impossible_targets_are_refused(gamma, n):
    with pytest.raises(ValueError, match=f"gamma={gamma}, n={n}"):
        targets(episodes([3], [True]), gamma, n)

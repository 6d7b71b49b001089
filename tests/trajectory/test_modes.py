"""Marginal modes: the loss by hand, and the moments of the mixture."""

import numpy as np
import pytest
import torch

from domains.trajectory.batch import Targets
from domains.trajectory.latents import Latents
from domains.trajectory.network.encoder import Encoding
from domains.trajectory.network.modes import ModeHead, Modes, mode_loss, moments
from guided.rng import initial_weights

F, K, M = 3, 4, 3


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def modes(b=2, a=3):
    return Modes(draw(b, a, M, K), draw(b, a, M, K, seed=1).exp(), draw(b, a, M, seed=2))


def latents():
    return Latents(F, K).double().fit(draw(50, F, 2, seed=3) * 2 + 1)


def test_the_loss_by_hand():
    """Two modes at (1, 0) and (3, 0), what happened is (1, 3): both steps are 2 F = 4 numbers."""
    plain = Latents(2, 4).double()  # decodes numbers as they are
    places = torch.tensor([[1.0, 0, 1, 0], [3, 0, 3, 0]]).double()[None, None]
    spread = torch.tensor([[2.0] * 4, [5.0] * 4]).double()[None, None]
    given = Modes(places, spread, torch.tensor([[[0.0, 1.0]]]).double())
    local = torch.tensor([[[[1.0, 3], [1, 3]]]]).double()
    targets = Targets(local, torch.ones(1, 1, 2, dtype=torch.bool))
    distance = (3 + 3) / 2 + 3 / 2
    wide = np.mean([0.5 * (x / 2) ** 2 + np.log(2) for x in (0, 3, 0, 3)])
    chance = np.log(1 / (1 + np.e))
    expected = distance + 0.3 * wide - 0.3 * chance
    assert mode_loss(given, plain, local, targets).item() == pytest.approx(expected, abs=1e-5)


def by_loops(given, decoder, local, valid):
    found = np.zeros(valid.shape[:2])
    for b, a in np.ndindex(*valid.shape[:2]):
        mask = valid[b, a].numpy()
        if not mask.any():
            continue
        futures = decoder.decode(given.latents[b, a]).numpy()
        gaps = np.linalg.norm(futures - local[b, a].numpy(), axis=-1) * mask
        costs = gaps.sum(1) / mask.sum() + 0.5 * gaps[:, -1]
        best = costs.argmin()
        chances = np.exp(given.logits[b, a].numpy())
        found[b, a] = costs[best] - 0.3 * np.log(chances[best] / chances.sum())
        if mask.all():
            x, s = given.latents[b, a, best].numpy(), given.spread[b, a, best].numpy()
            z = (decoder.encode(local[b, a]).numpy() - x) / s
            found[b, a] += 0.3 * np.mean(0.5 * z**2 + np.log(s))
    return found


def test_the_loss_against_loops_with_steps_that_are_missing():
    given, decoder, local = modes(), latents(), draw(2, 3, F, 2, seed=5)
    valid = torch.tensor([[[1, 1, 1], [1, 0, 0], [0, 1, 1]], [[0, 0, 0], [1, 1, 1], [1, 1, 1]]])
    valid = valid.bool()
    found = mode_loss(given, decoder, local, Targets(local, valid))
    np.testing.assert_allclose(found, by_loops(given, decoder, local, valid), atol=2e-5)
    assert found[1, 0] == 0
    other = torch.where(valid[..., None], local, 77.0)
    whole = valid.all(-1)
    again = mode_loss(given, decoder, other, Targets(other, valid))
    torch.testing.assert_close(again[whole], found[whole])
    torch.testing.assert_close(again[~whole], found[~whole])


def test_the_winner_alone_learns_where_to_be():
    given, decoder, local = modes(1, 1), latents(), draw(1, 1, F, 2, seed=5)
    parts = Modes(*(part.clone().requires_grad_() for part in given))
    targets = Targets(local, torch.ones(1, 1, F, dtype=torch.bool))
    mode_loss(parts, decoder, local, targets).sum().backward()
    gaps = (decoder.decode(given.latents) - local[:, :, None]).norm(dim=-1)
    best = int((gaps.mean(-1) + 0.5 * gaps[..., -1]).argmin())
    for grad in (parts.latents.grad, parts.spread.grad):
        assert (grad[0, 0].abs().sum(-1) > 0).tolist() == [m == best for m in range(M)]
    sign = parts.logits.grad[0, 0].sign().tolist()
    assert sign == [-1.0 if m == best else 1.0 for m in range(M)]
    # The deviation learns how far the winner is, and does not move it.
    place = given.latents[0, 0, best].clone().requires_grad_()
    missed = (decoder.decode(place) - local[0, 0]).square().sum(-1).add(1e-6).sqrt()
    (missed.mean() + 0.5 * missed[-1]).backward()
    torch.testing.assert_close(parts.latents.grad[0, 0, best], place.grad)
    z = (decoder.encode(local)[0, 0] - given.latents[0, 0, best]) / given.spread[0, 0, best]
    expected = 0.3 / K * (1 - z.square()) / given.spread[0, 0, best]
    torch.testing.assert_close(parts.spread.grad[0, 0, best], expected)


def test_moments_are_those_of_samples():
    given, random = modes(1, 2), np.random.default_rng(0)
    mean, std = moments(given, 0.0)
    for a in range(2):
        chance = given.probabilities[0, a].numpy()
        which = random.choice(M, size=200_000, p=chance / chance.sum())
        x = given.latents[0, a].numpy()[which]
        x = x + given.spread[0, a].numpy()[which] * random.normal(size=x.shape)
        error = std[0, a].numpy() / np.sqrt(len(x))
        assert (np.abs(x.mean(0) - mean[0, a].numpy()) < 4 * error).all()
        np.testing.assert_allclose(x.std(0), std[0, a], rtol=0.02)


def test_moments_by_the_law_of_total_variance():
    given = modes()
    mean, std = moments(given, 0.0)
    weight = torch.softmax(given.logits, -1)[..., None]
    torch.testing.assert_close(mean, (weight * given.latents).sum(2))
    second = (weight * (given.latents**2 + given.spread**2)).sum(2)
    torch.testing.assert_close(std.square(), second - mean**2)
    narrow = given._replace(latents=0 * given.latents, spread=0.01 * given.spread)
    assert torch.equal(moments(narrow, 0.1)[1], torch.full_like(std, 0.1))
    assert torch.equal(moments(given, std.max().item())[1], torch.full_like(std, std.max()))


def test_the_head_is_of_each_agent_alone_and_its_modes_differ():
    with initial_weights(0):
        head = ModeHead(8, M, K).double()
    agents = draw(2, 3, 8)
    encoding = Encoding(agents, torch.zeros(0), torch.zeros(0))
    found = head(encoding)
    assert [tuple(part.shape) for part in found] == [(2, 3, M, K), (2, 3, M, K), (2, 3, M)]
    alone = head(encoding._replace(agents=agents[1:, 2:]))
    for part, same in zip(found, alone, strict=True):
        torch.testing.assert_close(part[1:, 2:], same)
    assert (found.latents[:, :, 0] - found.latents[:, :, 1]).abs().min() > 1e-3
    torch.testing.assert_close(found.probabilities.sum(-1), torch.ones(2, 3).double())
    wild = head(encoding._replace(agents=1e6 * agents))
    assert torch.isfinite(wild.spread.log()).all()
    assert np.exp(-6) * 0.999 <= wild.spread.min() and wild.spread.max() <= np.exp(3) * 1.001

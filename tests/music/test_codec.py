"""The map between rolls and x0."""

import numpy as np
import torch

from domains.music.codec import Codec
from domains.music.roll import Roll, Rolls


def random_roll(seed: int, columns: int = 64) -> Roll:
    """A valid roll: notes of random place, length and velocity."""
    rng = np.random.default_rng(seed)
    velocity = np.zeros((columns, 88), np.uint8)
    onset = np.zeros((columns, 88), bool)
    for _ in range(60):
        row, start = rng.integers(88), rng.integers(columns - 1)
        end = min(columns, start + rng.integers(1, 12))
        if velocity[start:end, row].any():
            continue
        velocity[start:end, row] = rng.integers(1, 128)
        onset[start, row] = True
    return Roll(velocity, onset)


def test_a_valid_roll_survives_exactly() -> None:
    rolls = Rolls.stack([random_roll(seed) for seed in range(5)])
    back = Codec().decode(Codec().encode(rolls))
    assert torch.equal(back.velocity, rolls.velocity)
    assert torch.equal(back.onset, rolls.onset)


def test_whatever_is_decoded_survives_midi() -> None:
    """Rules read exactly what the written file holds, also for the noise of an early step."""
    x0 = torch.randn(3, 128, 176, generator=torch.Generator().manual_seed(0)) * 2
    rolls = Codec().decode(x0)
    for index, roll in enumerate(rolls.rolls(Roll.__dataclass_fields__["grid"].default, 120.0)):
        again = Roll.from_notes(roll.notes(), 128)
        assert np.array_equal(again.velocity, roll.velocity), index
        assert np.array_equal(again.onset, roll.onset), index


def test_channels_are_standardised_on_music() -> None:
    """The constants belong to music of POP909's density; a typo in one would show here."""
    rolls = Rolls(torch.zeros(1, 1000, 88), torch.zeros(1, 1000, 88, dtype=torch.bool))
    velocity, onset = rolls.velocity.clone(), rolls.onset.clone()
    generator = torch.Generator().manual_seed(0)
    sounding = torch.rand(velocity.shape, generator=generator) < 3.69 / 88
    velocity[sounding] = 0.66
    onset[torch.rand(onset.shape, generator=generator) < 1.25 / 88] = True
    x0 = Codec().encode(Rolls(velocity, onset))
    for channel in x0.split(88, dim=-1):
        assert abs(channel.mean()) < 0.05
        assert abs(channel.std() - 1) < 0.05


def test_decoding_is_pure_and_per_clip() -> None:
    x0 = torch.randn(4, 32, 176, generator=torch.Generator().manual_seed(1))
    before = x0.clone()
    together = Codec().decode(x0)
    assert torch.equal(x0, before)
    for i in range(4):
        alone = Codec().decode(x0[i : i + 1])
        assert torch.equal(alone.velocity[0], together.velocity[i])
        assert torch.equal(alone.onset[0], together.onset[i])


def test_a_mean_of_clips_is_read_with_the_notes_that_it_expects() -> None:
    """An early estimate is a mean of clips; a threshold finds next to nothing in it."""
    clips = Rolls.stack([random_roll(seed) for seed in range(40)])
    usual = clips._replace(velocity=torch.where(clips.velocity > 0, Codec().loudness, 0.0))
    # Unequal probabilities, for without ties between cells the counts agree up to rounding.
    weights = torch.rand(40, generator=torch.Generator().manual_seed(0))
    weights /= weights.sum()
    mean = torch.einsum("n,ntc->tc", weights, Codec().encode(usual))[None]
    found = Codec().expect(mean)
    sounding = (usual.velocity > 0).unflatten(1, (4, 16)).sum(dim=(2, 3))
    bars = (found.velocity > 0).unflatten(1, (4, 16)).sum(dim=(2, 3))[0]
    assert (bars - weights @ sounding.float()).abs().max() < 1
    starts = weights @ usual.onset.sum(dim=(1, 2)).float()
    assert 0.8 * starts < found.onset.sum() < 1.25 * starts
    assert (Codec().decode(mean).velocity > 0).sum() < 0.1 * bars.sum()


def test_a_sharp_estimate_is_read_as_what_it_is() -> None:
    rolls = Rolls.stack([random_roll(seed) for seed in range(5)])
    usual = rolls._replace(velocity=torch.where(rolls.velocity > 0, Codec().loudness, 0.0))
    found = Codec().expect(Codec().encode(usual))
    torch.testing.assert_close(found.velocity, usual.velocity)
    assert torch.equal(found.onset, usual.onset)


def test_an_expectation_is_per_clip_and_of_any_length() -> None:
    x0 = torch.randn(4, 40, 176, generator=torch.Generator().manual_seed(1))
    together = Codec().expect(x0)
    for i in range(4):
        assert torch.equal(Codec().expect(x0[i : i + 1]).velocity[0], together.velocity[i])

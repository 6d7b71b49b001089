"""Latents against numpy's singular values."""

import numpy as np
import pytest
import torch

from domains.trajectory.latents import Latents

F, K = 5, 4


def futures(n=300, seed=0, scale=1.0):
    random = np.random.default_rng(seed)
    steps = random.normal(size=(n, F, 2)) * [scale, 0.3] + [scale, 0.1]
    return torch.from_numpy(steps.cumsum(1))


def fitted(n=300, dim=K, **more):
    data = futures(n, **more)
    return Latents(F, dim).double().fit(data), data


def test_components_are_those_of_a_singular_value_decomposition():
    made, data = fitted()
    flat = data.flatten(1).numpy()
    mean = flat.mean(0)
    _, values, rows = np.linalg.svd(flat - mean, full_matrices=False)
    np.testing.assert_allclose(made.mean, mean, atol=1e-12)
    np.testing.assert_allclose(made.std, values[:K] / np.sqrt(len(flat)), rtol=1e-9)
    cosines = (made.basis.T.numpy() * rows[:K]).sum(1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-9)
    projected = mean + (flat - mean) @ rows[:K].T @ rows[:K]
    found = made.decode(made.encode(data)).flatten(1)
    np.testing.assert_allclose(found, projected, atol=1e-9)


def test_the_greatest_number_of_each_direction_is_positive():
    made, data = fitted()
    greatest = made.basis.abs().argmax(0)
    assert (made.basis.gather(0, greatest[None]) > 0).all()
    mirrored = Latents(F, K).double().fit(-data)
    torch.testing.assert_close(mirrored.basis, made.basis)


def test_latents_of_the_data_are_standard_and_not_correlated():
    made, data = fitted()
    x = made.encode(data)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(x.T @ x / len(x), np.eye(K), atol=1e-9)


def test_decoding_what_was_encoded_is_a_projection():
    made, _ = fitted()
    other = futures(50, seed=1)
    once = made.decode(made.encode(other))
    torch.testing.assert_close(made.decode(made.encode(once)), once)
    torch.testing.assert_close(made.encode(once), made.encode(other))
    lost = (other - once).flatten(1)
    np.testing.assert_allclose(lost @ made.basis, 0, atol=1e-9)


def test_all_components_lose_nothing():
    made, data = fitted(dim=2 * F)
    mean, final = made.reconstruction(data)
    assert mean < 1e-9 and final < 1e-9


def test_reconstruction_is_the_mean_and_the_final_distance():
    made, data = fitted(dim=2)
    gaps = np.hypot(*(made.decode(made.encode(data)) - data).permute(2, 0, 1).numpy())
    mean, final = made.reconstruction(data)
    assert mean == pytest.approx(gaps.mean()) and final == pytest.approx(gaps[:, -1].mean())
    assert fitted(dim=3)[0].reconstruction(data)[0] < mean


def test_leading_axes_and_none():
    made, data = fitted()
    x = made.encode(data[:24].reshape(2, 3, 4, F, 2))
    assert x.shape == (2, 3, 4, K)
    back = made.decode(x)
    torch.testing.assert_close(back.reshape(24, F, 2), made.decode(made.encode(data[:24])))
    torch.testing.assert_close(made.decode(x[0, 0, 0]), back[0, 0, 0])
    torch.testing.assert_close(made.encode(data[0]), x[0, 0, 0])
    assert made.decode(x[:0]).shape == (0, 3, 4, F, 2)


def test_what_does_not_vary_stays_finite():
    line = torch.zeros(20, F, 2)
    line[..., 0] = torch.linspace(1, 2, 20)[:, None]
    made = Latents(F, 3).fit(line)
    assert torch.isfinite(made.encode(line)).all()
    torch.testing.assert_close(made.decode(made.encode(line)), line, atol=1e-5, rtol=0)


def test_mistakes_are_one_sentence():
    for dim in (0, 11):
        with pytest.raises(ValueError, match=f"latents of 5 points have 1 to 10 dims, got {dim}"):
            Latents(F, dim)
    with pytest.raises(ValueError, match="4 components need more futures than that, got 4"):
        Latents(F, 4).fit(futures(4))


def whole_windows(path):
    """Return the complete people (N, 20, 2) of all windows of a file."""
    rows = np.loadtxt(path)
    frame = ((rows[:, 0] - rows[:, 0].min()) / 10).astype(int)
    people, person = np.unique(rows[:, 1], return_inverse=True)
    grid = np.full((len(people), frame.max() + 1, 2), np.nan)
    grid[person, frame] = rows[:, 2:]
    parts = [grid[:, start : start + 20] for start in range(grid.shape[1] - 19)]
    return np.concatenate([part[~np.isnan(part).any((1, 2))] for part in parts])


def test_reconstruction_of_pedestrians(shared):
    """All but ETH, heading as in the last three steps: variance, and metres that are lost."""
    root = shared / "data" / "eth_ucy" / "train"
    files = [path for path in sorted(root.glob("*.txt")) if "biwi_eth" not in path.name]
    people = np.concatenate([whole_windows(path) for path in files])
    assert people.shape == (30307, 20, 2)
    local = in_own_frames(people[:, 8:] - people[:, 7:8], people[:, 7] - people[:, 4])
    share = Latents(12, 24).double().fit(local).std.square()
    share = (share.cumsum(0) / share.sum()).numpy()
    np.testing.assert_allclose(share[[0, 1, 2, 3]], [0.826, 0.986, 0.993, 0.998], atol=6e-4)
    np.testing.assert_allclose(share[[5, 7]], [0.9996, 0.9998], atol=1e-4)
    table = {
        3: (0.079, 0.129),
        4: (0.043, 0.063),
        6: (0.022, 0.025),
        8: (0.014, 0.012),
        10: (0.010, 0.007),
    }
    for dim, lost in table.items():
        found = Latents(12, dim).double().fit(local).reconstruction(local)
        assert [round(float(x), 3) for x in found] == list(lost)


def in_own_frames(offset, ahead):
    angle = np.arctan2(ahead[:, 1], ahead[:, 0])[:, None]
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = offset[..., 0], offset[..., 1]
    return torch.from_numpy(np.stack([cos * x + sin * y, cos * y - sin * x], -1))

"""Distances to lines and areas, against other ways to compute them."""

import numpy as np
import torch
from matplotlib.path import Path as Outline

from domains.trajectory.costs.segments import line, polygons


def star(count, seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    radii = rng.uniform(1, 5, count)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=-1) + rng.normal(0, 2, 2)


def test_areas_agree_with_another_implementation():
    outlines = [star(9, seed) for seed in range(3)]
    points = np.random.default_rng(5).uniform(-8, 8, (400, 2))
    inside = np.any([Outline(o).contains_points(points) for o in outlines], axis=0)
    area = polygons([torch.as_tensor(o) for o in outlines])
    assert 50 < inside.sum() < 350
    np.testing.assert_array_equal(area.inside(torch.as_tensor(points)), inside)
    # Distances to the outlines, by points a millimetre apart on them.
    fine = [
        np.linspace(a, b, 4000) for o in outlines for a, b in zip(o, np.roll(o, -1, 0), strict=True)
    ]
    gaps = [np.linalg.norm(np.concatenate(fine) - point, axis=-1).min() for point in points[:60]]
    found = area.outside(torch.as_tensor(points[:60]))
    np.testing.assert_allclose(found, np.where(inside[:60], 0, gaps), atol=2e-3)


def test_large_maps_are_searched_in_blocks(monkeypatch):
    points, outline = torch.randn(50, 2).double(), torch.as_tensor(star(9, 0))
    whole = polygons([outline]).outside(points)
    monkeypatch.setattr("domains.trajectory.costs.segments.BLOCK", 20)
    torch.testing.assert_close(polygons([outline]).outside(points), whole)


def test_an_endless_line_has_no_ends():
    points = torch.tensor([[-5.0, 1.0], [9.0, -2.0]])
    ends = torch.tensor([[0.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    np.testing.assert_allclose(line(ends, endless=True).distance(points), [1, 2])
    np.testing.assert_allclose(line(ends).distance(points), [26**0.5, 40**0.5], rtol=1e-6)

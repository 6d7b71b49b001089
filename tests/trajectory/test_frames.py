"""Agents' own frames against complex numbers."""

import torch

from domains.trajectory.frames import to_local, to_scene, turned


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).double()


def test_turning_is_a_product_of_complex_numbers():
    points, angle = draw(4, 3, 2), 4 * draw(4, 1)
    found = torch.view_as_complex(points) * torch.exp(1j * angle)
    torch.testing.assert_close(turned(points, angle), torch.view_as_real(found))


def test_own_frames_begin_here_and_look_ahead():
    origin, heading = draw(2, 3, 2), 3 * draw(2, 3)
    ahead = torch.stack([heading.cos(), heading.sin()], -1)
    left = torch.stack([-heading.sin(), heading.cos()], -1)
    points = torch.stack([origin, origin + 2 * ahead, origin + left], 2)
    expected = torch.tensor([[0, 0], [2, 0], [0, 1]]).double().expand(2, 3, 3, 2)
    torch.testing.assert_close(to_local(points, origin, heading), expected)


def test_there_and_back_with_leading_axes():
    points, origin, heading = draw(5, 2, 3, 4, 2), draw(2, 3, 2), 3 * draw(2, 3)
    local = to_local(points, origin, heading)
    torch.testing.assert_close(to_scene(local, origin, heading), points)
    alone = to_local(points[1, 0], origin[0], heading[0])
    torch.testing.assert_close(alone, local[1, 0])

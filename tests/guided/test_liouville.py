"""Densities along a flow, against linear systems in closed form, mass on a grid, and Jacobians."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.stats import multivariate_normal

from guided.liouville import divergence, draw_probes, push, walk
from guided.rng import Rng

D64 = torch.float64
A = torch.tensor([[-0.5, 1.2, 0.0], [-0.8, 0.3, 0.1], [0.2, 0.0, -1.0]], dtype=D64)
MEAN, COV = np.array([1.0, -0.5, 0.2]), np.diag([0.5, 0.2, 0.3]) + 0.1


def linear(x, t):
    return x @ A.mT


def pendulum(x, t):
    """A damped pendulum with a push that turns: its divergence depends on the state."""
    angle, speed = x.unbind(-1)
    torque = -angle.sin() - 0.3 * speed * (1 + 0.8 * angle.cos()) + math.cos(t)
    return torch.stack([speed, torque], -1)


def mixed(x, t):
    """A field on samples of shape (2, 2), in which every number depends on all of its sample."""
    total = x.flatten(1).sum(1).reshape(-1, *[1] * (x.ndim - 1))
    return (x * total).sin() + t * x.square()


def steps(stop, count, start=0.0):
    return np.linspace(start, stop, count + 1).tolist()


def points(*shape, seed=0):
    return Rng(seed).normal(shape, D64)


@pytest.mark.parametrize("method", ["euler", "heun", "rk4"])
def test_a_linear_system_shifts_the_log_density_by_its_trace(method):
    start = points(7)
    pushed = push(linear, points(7, 3, seed=1), start, steps(1.7, 3), method)
    expected = start - 1.7 * A.trace()
    torch.testing.assert_close(pushed.log_density, expected, atol=1e-12, rtol=0)
    assert pushed.t == 1.7


def test_a_gaussian_stays_the_gaussian_of_the_matrix_exponential():
    root = torch.from_numpy(np.linalg.cholesky(COV))
    x = torch.from_numpy(MEAN) + points(5000, 3) @ root.mT
    start = torch.from_numpy(multivariate_normal(MEAN, COV).logpdf(x.numpy()))
    end = push(linear, x, start, steps(1.5, 60))
    flow = expm(1.5 * A.numpy())
    law = multivariate_normal(flow @ MEAN, flow @ COV @ flow.T)
    np.testing.assert_allclose(end.log_density, law.logpdf(end.x.numpy()), atol=1e-6)
    np.testing.assert_allclose(end.x, x.numpy() @ flow.T, atol=1e-7)


@pytest.mark.parametrize("method, order", [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_the_order_of_the_log_density_is_the_methods(method, order):
    x, start = points(20, 2), torch.zeros(20, dtype=D64)
    fine = push(pendulum, x, start, steps(2.0, 320))
    errors = []
    for count in (20, 40):
        found = push(pendulum, x, start, steps(2.0, count), method)
        errors.append(float((found.log_density - fine.log_density).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


def test_mass_is_conserved_on_a_grid():
    """rho_t at every point of a grid by going back to the start, summed over the plane."""
    axis = torch.linspace(-5, 5, 201, dtype=D64)
    x = torch.cartesian_prod(axis, axis)
    back = push(pendulum, x, torch.zeros(len(x), dtype=D64), steps(0.0, 30, start=2.0))
    law = multivariate_normal([0.8, 0.0], 0.15)
    log_density = torch.from_numpy(law.logpdf(back.x.numpy())) - back.log_density
    mass = log_density.exp() * float(axis[1] - axis[0]) ** 2
    assert float(mass.sum()) == pytest.approx(1, abs=1e-3)
    # The mean of the pushed law, by the same sum and by its samples.
    draws = math.sqrt(0.15) * points(20_000, 2) + torch.tensor([0.8, 0.0])
    moved = push(pendulum, draws, torch.zeros(20_000, dtype=D64), steps(2.0, 60)).x
    error = 3 * moved.std(0) / math.sqrt(20_000)
    assert ((mass[:, None] * x).sum(0) - moved.mean(0)).abs().lt(error).all()


def test_forth_and_back_is_the_start():
    x, start = points(9, 2), points(9, seed=4)
    there = push(pendulum, x, start, steps(1.5, 100))
    back = push(pendulum, there.x, there.log_density, steps(0.0, 100, start=1.5))
    torch.testing.assert_close(back.x, x, atol=1e-7, rtol=0)
    torch.testing.assert_close(back.log_density, start, atol=1e-7, rtol=0)
    assert (there.log_density - start).abs().min() > 0.1


@pytest.mark.parametrize("shape", [(2, 2), (3,), (1,)])
def test_the_divergence_is_the_trace_of_the_jacobian(shape):
    x = points(5, *shape)
    for row, found in zip(x, divergence(mixed, x, 0.4), strict=True):
        jacobian = torch.func.jacrev(lambda y: mixed(y[None], 0.4)[0])(row)
        size = row.numel()
        assert float(found) == pytest.approx(float(jacobian.reshape(size, size).trace()), rel=1e-12)


@pytest.mark.parametrize("law", ["rademacher", "gaussian"])
def test_random_probes_are_unbiased(law):
    x = points(4, 2, 2)
    probes = draw_probes(x, 4000, Rng(3), law)
    alone = torch.stack([divergence(mixed, x, 0.4, p[None]) for p in probes])
    error = alone.std(0) / math.sqrt(len(alone))
    assert (alone.mean(0) - divergence(mixed, x, 0.4)).abs().lt(3 * error).all()
    torch.testing.assert_close(divergence(mixed, x, 0.4, probes), alone.mean(0))


def test_random_probes_are_unbiased_along_a_flow():
    x, start = points(3, 2), torch.zeros(3, dtype=D64)
    exact = push(pendulum, x, start, steps(1.0, 10))
    probes = draw_probes(x, 200, Rng(5), "gaussian")
    found = torch.stack(
        [push(pendulum, x, start, steps(1.0, 10), probes=p[None]).log_density for p in probes]
    )
    error = found.std(0) / math.sqrt(len(found))
    assert (found.mean(0) - exact.log_density).abs().lt(3 * error).all()


def test_signs_know_a_diagonal_jacobian_exactly():
    x = points(6, 4)
    found = divergence(lambda x, t: x.sin(), x, 0.0, draw_probes(x, 1, Rng(0)))
    torch.testing.assert_close(found, x.cos().sum(1))


def test_probes_of_a_sample_do_not_depend_on_its_batch():
    x = points(5, 3)
    every = draw_probes(x, 4, Rng.per_sample(7, 5))
    alone = draw_probes(x[2:3], 4, Rng.per_sample(7, 1, first=2))
    assert torch.equal(every[:, 2:3], alone)
    assert every.abs().eq(1).all()


def test_a_trace_in_closed_form_is_used():
    x, start, calls = points(6, 2), torch.zeros(6, dtype=D64), []

    def trace(x, t):
        calls.append(t)
        return -0.3 * (1 + 0.8 * x[:, 0].cos())

    found = push(pendulum, x, start, steps(1.0, 5), trace=trace)
    expected = push(pendulum, x, start, steps(1.0, 5))
    torch.testing.assert_close(found.log_density, expected.log_density, atol=1e-13, rtol=0)
    assert len(calls) == 20


def test_a_walk_yields_every_time_and_changes_nothing():
    x, start = points(4, 2), points(4, seed=1)
    given = x.clone(), start.clone()
    found = list(walk(pendulum, x, start, [0.0, 0.3, 1.0]))
    assert [p.t for p in found] == [0.3, 1.0]
    assert torch.equal(x, given[0]) and torch.equal(start, given[1])
    assert not found[-1].x.requires_grad and found[-1].x.dtype == D64
    alone = push(pendulum, x[1:2], start[1:2], [0.0, 0.3, 1.0])
    torch.testing.assert_close(alone.x, found[-1].x[1:2], atol=1e-14, rtol=0)
    torch.testing.assert_close(alone.log_density, found[-1].log_density[1:2], atol=1e-14, rtol=0)
    assert push(linear_32, x.float(), start.float(), [0.0, 1.0]).log_density.dtype == torch.float32


def linear_32(x, t):
    return -x


@pytest.mark.parametrize("times", [[0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 0.5], [0.0, float("nan")]])
def test_bad_times_are_refused(times):
    with pytest.raises(ValueError, match="all rise or all fall"):
        push(linear, points(2, 3), points(2), times)


def test_what_does_not_fit_is_refused():
    x, start = points(2, 3), points(2)
    with pytest.raises(ValueError, match=r"unknown method 'rk5'; expected one of euler, heun, rk4"):
        push(linear, x, start, [0, 1], "rk5")
    with pytest.raises(ValueError, match=r"one number per sample, shape \(2,\), got \(3,\)"):
        push(linear, x, points(3), [0, 1])
    with pytest.raises(ValueError, match="give one of them"):
        push(linear, x, start, [0, 1], trace=linear, probes=x[None])
    with pytest.raises(ValueError, match=r"of the shape of x, \(2, 3\), got \(2,\)"):
        divergence(lambda x, t: x.sum(1), x, 0.0)
    with pytest.raises(ValueError, match="at least 1 random vector, got 0"):
        draw_probes(x, 0, Rng(0))
    with pytest.raises(ValueError, match="'rademacher' or 'gaussian', got 'cauchy'"):
        draw_probes(x, 1, Rng(0), "cauchy")


@pytest.mark.parametrize("field", [lambda x, t: x.detach() ** 2, lambda x, t: torch.ones_like(x)])
def test_a_field_without_a_gradient_is_refused(field):
    with pytest.raises(ValueError, match="no gradient flows from the field"):
        divergence(field, points(2, 3), 0.0)


def test_a_field_of_weights_alone_is_refused():
    weight = torch.ones(3, dtype=D64, requires_grad=True)
    with pytest.raises(ValueError, match="no gradient flows from the field"):
        divergence(lambda x, t: weight.expand_as(x), points(2, 3), 0.0)

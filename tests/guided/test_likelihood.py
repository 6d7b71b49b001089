"""Likelihoods by the probability flow, against laws in closed form."""

import math

import pytest
import torch

from guided import VE, Chunked, Cosine, NetDenoiser, RectifiedFlow, Rng, VPLinear
from guided.exact import Mixture, gaussian
from guided.likelihood import log_likelihood
from guided.schedule import karras, log_snr, uniform
from tests.guided.mixtures import D64, close, law, line, randn

SCHEDULES = [VPLinear(), Cosine(), VE(sigma_max=300.0), RectifiedFlow()]
NAMES = [type(s).__name__ for s in SCHEDULES]
START = 1e-3  # sigma / alpha of the lowest level


def angles(schedule, steps, start=START, stop=math.inf):
    """A grid of equal steps in the angle, noise first."""
    low = math.atan(start)
    high = math.atan(min(stop, schedule.level(1.0).noise_to_signal))
    grid = [high + (low - high) * i / steps for i in range(steps + 1)]
    return [schedule.time(math.tan(angle)) for angle in grid]


def centred(size):
    """A mixture with mean 0, of which next to nothing is left in the noise of the first level."""
    means = 1.2 * randn(2, size, seed=2)
    means = torch.cat([means, -means])
    variances = 0.1 + Rng(5).uniform((2, size), D64)
    return Mixture(torch.ones(4, dtype=D64), means, torch.cat([variances, variances]))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("method", ["heun", "rk4"])
def test_a_mixtures_likelihood_is_its_density(schedule, size, method):
    mixture = centred(size)
    x = mixture.sample(32, Rng(1))
    times = angles(schedule, {"heun": 90, "rk4": 24}[method])
    found = log_likelihood(mixture.denoiser(schedule), x, times, method=method)
    close(found, mixture.log_prob(x), 1e-3)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_a_gaussians_likelihood_is_its_density(schedule, shape):
    size = math.prod(shape)
    root = randn(size, size, seed=3)
    law = gaussian(torch.zeros(shape, dtype=D64), 0.3 * root @ root.mT + 0.1 * torch.eye(size))
    x = randn(16, *shape)
    found = log_likelihood(law.denoiser(schedule), x, angles(schedule, 24))
    close(found, law.log_prob(x), 1e-3)


def test_where_the_noise_is_pure_the_mean_does_not_matter():
    mixture, schedule = law((3,)), RectifiedFlow()
    x = mixture.sample(32, Rng(1))
    assert schedule.level(1.0).alpha == 0
    found = log_likelihood(mixture.denoiser(schedule), x, angles(schedule, 24))
    close(found, mixture.log_prob(x), 1e-3)


def test_an_end_with_a_rest_of_the_data_is_the_model_of_that_end():
    """N(m, s^2) from a first level with ratio R: the model makes N(m (1 - g), g^2 R^2) of it."""
    mean, std, ratio, schedule = 2.0, 0.5, 6.0, VPLinear()
    denoiser = gaussian(torch.tensor([mean], dtype=D64), std**2).denoiser(schedule)
    x = torch.linspace(0, 4, 9, dtype=D64)[:, None]
    found = log_likelihood(denoiser, x, angles(schedule, 48, 1e-4, ratio))
    gain = math.sqrt((std**2 + 1e-8) / (std**2 + ratio**2))
    model = torch.distributions.Normal(mean * (1 - gain), gain * ratio)
    close(found, model.log_prob(x[:, 0]), 1e-6)


def test_the_start_level_blurs_the_data():
    mixture, schedule = centred(2), RectifiedFlow()
    x = mixture.sample(16, Rng(1))
    for start in (0.5, 0.1):
        found = log_likelihood(mixture.denoiser(schedule), x, angles(schedule, 24, start))
        variances = mixture.covariances.variances + start**2
        blurred = Mixture(mixture.weights, mixture.means, variances)
        close(found, blurred.log_prob(x), 1e-6)
        assert (found - mixture.log_prob(x)).abs().max() > 0.2 * start**2


@pytest.mark.parametrize("method, order", [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_the_order_of_convergence(method, order):
    mixture, schedule = centred(2), Cosine()
    x, denoiser = mixture.sample(16, Rng(1)), mixture.denoiser(schedule)
    fine = log_likelihood(denoiser, x, angles(schedule, 160))
    errors = []
    for steps in (20, 40):
        found = log_likelihood(denoiser, x, angles(schedule, steps), method=method)
        errors.append(float((found - fine).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize(
    "times",
    [
        karras(VE(), 50, 1e-3, 80.0)[:-1],
        log_snr(VE(), 80, 1e-3, 80.0)[:-1],
        [1 - 0.8 * i / 100 for i in range(100)],
    ],
    ids=["karras", "log_snr", "uniform"],
)
def test_the_grids_of_samplers_serve(times):
    mixture = centred(2)
    x = mixture.sample(8, Rng(1))
    found = log_likelihood(mixture.denoiser(VE()), x, times)
    start = VE().level(times[-1]).sigma
    variances = mixture.covariances.variances + start**2
    close(found, Mixture(mixture.weights, mixture.means, variances).log_prob(x), 1e-3)


def test_the_density_integrates_to_one():
    mixture, _ = line()
    grid = torch.linspace(-9, 9, 1501, dtype=D64)[:, None]
    found = log_likelihood(mixture.denoiser(RectifiedFlow()), grid, angles(RectifiedFlow(), 40))
    assert float(torch.trapezoid(found.exp(), grid[:, 0])) == pytest.approx(1, abs=1e-3)


def test_random_probes_are_unbiased():
    mixture, times = law((5,)), angles(RectifiedFlow(), 20)
    denoiser, x = mixture.denoiser(RectifiedFlow()), mixture.sample(3, Rng(1))
    exact = log_likelihood(denoiser, x, times)
    many = x.repeat(300, 1)
    found = log_likelihood(denoiser, many, times, probes=1, rng=Rng(2)).unflatten(0, (300, 3))
    error = found.std(0) / math.sqrt(300)
    assert (error > 1e-3).all()
    assert (found.mean(0) - exact).abs().lt(3 * error).all()
    more = log_likelihood(denoiser, many, times, probes=4, rng=Rng(3)).unflatten(0, (300, 3))
    assert (more.std(0) / found.std(0)).mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("probes", [None, 2])
def test_a_sample_does_not_depend_on_its_batch(probes):
    mixture, times = law((2, 3)), angles(VPLinear(), 10)
    denoiser, x = mixture.denoiser(VPLinear()), mixture.sample(5, Rng(1))
    given = x.clone()
    every = log_likelihood(denoiser, x, times, probes=probes, rng=Rng.per_sample(0, 5))
    rng = Rng.per_sample(0, 1, first=3)
    alone = log_likelihood(denoiser, x[3:4], times, probes=probes, rng=rng)
    close(every[3:4], alone, 1e-12)
    close(log_likelihood(Chunked(denoiser, 2), x, times), log_likelihood(denoiser, x, times), 1e-12)
    assert torch.equal(x, given) and every.shape == (5,) and every.dtype == D64


def test_conditions_choose_the_law():
    mixture, schedule = law((2,)), RectifiedFlow()
    classes = torch.tensor([0, 1, 1])
    denoiser = mixture.denoiser(schedule, classes=classes)
    labels = torch.tensor([0, 1, 0, 1])
    x = mixture.sample(4, Rng(1))
    found = log_likelihood(denoiser, x, angles(schedule, 24), cond=labels)
    chosen, _ = mixture.select(classes == labels[:, None])
    close(found, chosen.log_prob(x), 1e-3)


def test_a_network_in_single_precision_serves():
    net = NetDenoiser(_Linear(), RectifiedFlow(), "flow")
    found = log_likelihood(net, torch.randn(4, 3, generator=_generator()), uniform(20)[:-1])
    assert found.dtype == torch.float32 and found.isfinite().all() and not found.requires_grad


class _Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.3))

    def forward(self, x, time, cond=None):
        return self.gain * x


def _generator():
    return torch.Generator().manual_seed(0)


def test_bad_arguments_are_refused():
    denoiser, x = law().denoiser(VPLinear()), randn(2, 3)
    with pytest.raises(ValueError, match=r"times that end at 0; leave that time out"):
        log_likelihood(denoiser, x, uniform(5))
    with pytest.raises(ValueError, match="strictly decreasing"):
        log_likelihood(denoiser, x, [0.1, 0.5])
    with pytest.raises(ValueError, match="2 random probes need an rng"):
        log_likelihood(denoiser, x, [0.5, 0.1], probes=2)

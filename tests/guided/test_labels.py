import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from guided import CFG, DDIM, Rng, VPLinear
from guided.exact import Mixture
from guided.guidance.training import SelfLabels, cluster
from guided.schedule import uniform

F64 = torch.float64
MEANS = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.5, -3.0]], dtype=F64)
LAW = Mixture(torch.tensor([0.4, 0.3, 0.2, 0.1]), MEANS, 0.64)


def data(n=4000):
    x = LAW.sample(n, Rng(0))
    return x, LAW.responsibilities(x).argmax(1)


def purity(found, true):
    """The share of samples whose cluster is matched with their component, one to one."""
    table = np.zeros((4, 4))
    np.add.at(table, (found.numpy(), true.numpy()), 1)
    rows, columns = linear_sum_assignment(-table)
    return table[rows, columns].sum() / len(true)


def test_clusters_are_the_components():
    x, true = data()
    found = cluster(x, 4, seed=0)
    assert purity(found.labels(x), true) > 0.98
    assert found.counts.sum() == len(x) and found.null == 4
    nearest = torch.cdist(x, found.centres).argmin(1)
    assert torch.equal(found.labels(x), nearest)
    assert torch.equal(found.counts, torch.bincount(nearest))
    for k in range(4):  # a centre is the mean of its own
        torch.testing.assert_close(x[nearest == k].mean(0), found.centres[k], atol=1e-3, rtol=0)


def test_seeds_decide_alone():
    x, _ = data(500)
    a, b = cluster(x, 6, seed=3), cluster(x, 6, seed=3)
    assert torch.equal(a.centres, b.centres) and torch.equal(a.counts, b.counts)
    assert not torch.equal(a.centres, cluster(x, 6, seed=4).centres)


def test_sampled_labels_have_the_histogram_of_the_data():
    labels = SelfLabels(MEANS, torch.tensor([700, 0, 250, 50]))
    drawn = labels.sample(100_000, Rng(0))
    share = torch.bincount(drawn, minlength=4).double() / 100_000
    wanted = torch.tensor([0.7, 0.0, 0.25, 0.05], dtype=F64)
    assert ((share - wanted).abs() <= 4 * (wanted * (1 - wanted) / 100_000).sqrt()).all()


def test_one_cluster_is_the_unconditional_model():
    x, _ = data(200)
    labels = cluster(x, 1, seed=0)
    torch.testing.assert_close(labels.centres[0], x.mean(0))
    denoiser = LAW.denoiser(VPLinear(), labels.labels(MEANS), null=labels.null)
    noise, times = Rng(1).normal((50, 2), F64), uniform(10)
    cond = labels.sample(50, Rng(2))
    guided = DDIM(CFG(denoiser, 4.0, labels.dropped)).sample(noise, times, cond, rng=Rng(3))
    plain = DDIM(LAW.denoiser(VPLinear())).sample(noise, times, rng=Rng(3))
    torch.testing.assert_close(guided, plain)


def test_guidance_by_clusters_raises_purity():
    """Of four components, two clusters hold two each; guided samples fall into their own."""
    x, _ = data()
    labels = cluster(x, 2, seed=0)
    denoiser = LAW.denoiser(VPLinear(), labels.labels(MEANS), null=labels.null)
    noise, times = Rng(1).normal((1000, 2), F64), uniform(30)
    cond = labels.sample(1000, Rng(2))
    shares = []
    for scale in (0.0, 1.0, 3.0):
        sampler = DDIM(CFG(denoiser, scale, labels.dropped))
        end = sampler.sample(noise, times, cond, rng=Rng(3))
        shares.append((labels.labels(end) == cond).double().mean().item())
    histogram = labels.counts.double() / labels.counts.sum()
    assert shares[0] == pytest.approx(histogram.square().sum().item(), abs=0.05)
    assert shares[1] > 0.95 and shares[2] > shares[1]


def test_what_cannot_be_clustered_is_refused():
    for features, k in ((torch.zeros(5), 1), (torch.zeros(5, 2), 6), (torch.zeros(5, 2), 0)):
        with pytest.raises(ValueError, match=r"features \(N, F\) and k in 1, ..., N, got"):
            cluster(features, k, 0)
    with pytest.raises(ValueError, match="5 features, 1 of them distinct, do not fill k = 3 clus"):
        cluster(torch.zeros(5, 2), 3, 0)
    with pytest.raises(ValueError, match=r"features \(N, 2\), got \(3, 5\)"):
        SelfLabels(MEANS, torch.ones(4)).labels(torch.zeros(3, 5))

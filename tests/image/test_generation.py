"""Generating and judging pictures, apart from the command line."""

import pytest
import torch

from domains.image.classifier import JUDGE, load_classifier
from domains.image.data.source import load_images
from domains.image.generation import Generator, Sampling, quadrants
from domains.image.grids import in_columns, labels_in_turn, save_grid, tiled
from domains.image.model import SMALL
from domains.image.plots import tradeoff_figure
from domains.image.sweep import Judged, means
from guided.fidelity import coverage, frechet_distance
from guided.guidance.registry import Named


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator.load(SMALL, Sampling(steps=6))


def test_a_picture_does_not_depend_on_its_batch(generator) -> None:
    labels = labels_in_turn(6, range(10))
    many = generator.sample(Named("cfg").scaled(2.0), labels, seed=3)
    few = generator.sample(Named("cfg").scaled(2.0), labels[:2], seed=3)
    torch.testing.assert_close(many[:2], few, rtol=0, atol=1e-5)
    other = generator.sample(Named("cfg").scaled(2.0), labels, seed=4)
    assert not torch.allclose(many, other, atol=0.1)


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp", "heun"])
def test_samplers_agree_on_what_they_approximate(generator, sampler) -> None:
    labels = labels_in_turn(8, range(10))
    fine = Generator(generator.denoiser, generator.config, sampling=Sampling("heun", 64))
    rough = Generator(generator.denoiser, generator.config, sampling=Sampling(sampler, 32))
    gap = rough.sample(Named(), labels) - fine.sample(Named(), labels)
    assert gap.square().mean().sqrt() < 0.1


def test_labels_raise_the_accuracy_of_the_judge(generator) -> None:
    judge, labels = load_classifier(JUDGE), labels_in_turn(200, range(10))
    shares = []
    for named in (Named("cfg").scaled(0.0), Named(), Named("cfg").scaled(3.0)):
        x0 = generator.sample(named, labels)
        shares.append((judge(x0.clamp(-1, 1)).argmax(1) == labels).double().mean().item())
    assert shares[0] < 0.25 < 0.4 < shares[1] < shares[2]


def test_without_labels_the_null_label_is_meant(generator) -> None:
    plain = generator.sample(Named(), None, count=3)
    labels = torch.zeros(3, dtype=torch.long)
    torch.testing.assert_close(plain, generator.sample(Named("cfg").scaled(0.0), labels))
    with pytest.raises(ValueError, match="give labels, or a count of at least 1, got None"):
        generator.sample(Named(), None)


def test_quadrants_share_a_picture() -> None:
    masks = quadrants((1, 5, 8))
    assert masks.shape == (4, 1, 5, 8)
    assert torch.equal(masks.sum(0), torch.ones(1, 5, 8))
    assert masks[0, 0, 0, 0] == 1 and masks[3, 0, -1, -1] == 1


def test_figures_of_the_judge_are_those_of_its_features() -> None:
    judge, held = load_classifier(JUDGE), load_images("digits").test
    judged = Judged(judge, held.x[:100], held.labels[:100])
    found = judged.figures(3 * held.x[100:200], held.labels[100:200])
    features = judge.features((3 * held.x[100:200]).clamp(-1, 1))
    assert found["distance"] == frechet_distance(features, judge.features(held.x[:100]))
    assert found["recall"] == coverage(features, judge.features(held.x[:100])).recall
    assert found["saturation"] == (held.x[100:200].abs() > 0.4).double().mean().item()
    own = judged.figures(held.x[:100], held.labels[:100])
    assert own["distance"] < 1e-6 and own["precision"] == 1 and own["accuracy"] > 0.9


def test_means_are_over_seeds() -> None:
    rows = [
        {"method": "a", "scale": [1.0], "seed": seed, "distance": d, "accuracy": 0.5}
        for seed, d in enumerate((1.0, 3.0))
    ]
    rows.append({"method": "a", "scale": [2.0], "seed": 0, "distance": 4.0, "accuracy": 1.0})
    first, second = means(rows)
    assert first["distance"] == 2 and first["distance_std"] == pytest.approx(2**0.5)
    assert second == {
        **{"method": "a", "scale": [2.0], "distance": 4.0, "accuracy": 1.0},
        "distance_std": 0.0,
    }


def test_the_trade_off_is_drawn(tmp_path) -> None:
    row = {"method": "a", "accuracy": 0.9, "distance": 3.0}
    path = tmp_path / "x.png"
    figure = tradeoff_figure([row, {**row, "distance": 2.0}], {"distance": 1.0}, path)
    assert path.stat().st_size > 1000 and len(figure.axes) == 1


def test_a_grid_is_the_pictures_side_by_side(tmp_path) -> None:
    x = torch.stack([torch.full((1, 2, 3), v) for v in (-1.0, 0.0, 2.0)])
    sheet = tiled(x, 2)
    assert sheet.shape == (2 * 3 + 1, 2 * 4 + 1, 1)
    assert sheet[1, 1] == 0 and sheet[1, 5] == 128 and sheet[4, 1] == 255
    assert sheet[0, 0] == 128 and sheet[4, 5] == 128
    save_grid(tmp_path / "x.png", x.expand(-1, 3, -1, -1), 3, enlarge=2)
    both = in_columns(x, -x)
    assert torch.equal(both[1], -x[0]) and len(both) == 6
    with pytest.raises(ValueError, match=r"got \(3, 2, 2, 3\) and 1"):
        tiled(x.expand(-1, 2, -1, -1), 1)

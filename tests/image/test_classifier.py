"""The classifiers: training on varied copies, files and back, and the two that are shipped."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from domains.image.classifier import (
    GUIDE,
    JUDGE,
    Classifier,
    ClassifierConfig,
    accuracy,
    load_classifier,
    save_classifier,
)
from domains.image.data.digits import digits
from domains.image.model import SHIPPED
from domains.image.train_classifier import (
    ClassifierTraining,
    chosen,
    held_out_accuracy,
    run_training,
    settled,
    varied,
)
from guided import Rng
from guided.checkpoint import CheckpointError
from guided.train import TrainConfig

SMALL = ClassifierConfig(width=4, features=8, names=tuple("0123456789"))
LOOP = TrainConfig(steps=60, batch=32, lr=1e-2, warmup=5, ema=0.9, save_every=30, log_every=30)


def test_it_has_features_and_logits_of_every_picture_alone() -> None:
    classifier = Classifier(SMALL)
    x = Rng(0).normal((3, 1, 8, 8))
    features, logits = classifier.features(x), classifier(x)
    assert features.shape == (3, 8) and logits.shape == (3, 10)
    torch.testing.assert_close(classifier(x[1:2]), logits[1:2])
    expected = classifier.head(torch.nn.functional.silu(features))
    torch.testing.assert_close(logits, expected)


def test_a_classifier_comes_back_from_its_folder(tmp_path: Path) -> None:
    classifier = Classifier(SMALL)
    save_classifier(tmp_path / "c", SMALL, classifier.state_dict(), note="x")
    classifier.load_state_dict({k: v.half().float() for k, v in classifier.state_dict().items()})
    back = load_classifier(tmp_path / "c")
    x = Rng(1).normal((2, 1, 8, 8))
    assert back.config == SMALL and torch.equal(back(x), classifier(x))
    assert not any(parameter.requires_grad for parameter in back.parameters())


def test_it_learns_and_counts_what_is_right(tmp_path: Path) -> None:
    images = digits()
    config = settled(ClassifierTraining(model=replace(SMALL, width=8), loop=LOOP), images)
    *_, state = run_training(images, config, tmp_path)
    right = held_out_accuracy(state.ema, images, config)
    assert right > 0.5
    classifier = Classifier(config.model)
    classifier.load_state_dict(state.ema)
    test = images.test
    by_hand = sum(
        int(classifier(x[None]).argmax()) == int(label)
        for x, label in zip(test.x, test.labels, strict=True)
    )
    assert right == pytest.approx(by_hand / 797)
    assert accuracy(classifier, test.x, test.labels) == right


def test_the_halves_share_no_picture_and_nothing_that_is_held_out() -> None:
    images = digits()
    even, odd, whole = (chosen(images, half) for half in ("even", "odd", "all"))
    assert len(even) == len(odd) == 500 and len(whole) == 1000
    assert torch.cdist(even.x.flatten(1), odd.x.flatten(1)).min() > 0
    assert not (even.held_out.any() or odd.held_out.any() or whole.held_out.any())


def test_copies_vary_as_much_as_asked_for() -> None:
    x = digits().x[:64]
    still = ClassifierTraining(move=0.0, noise=0.0, blur=0.0)
    torch.testing.assert_close(varied(x, still, Rng(0)), x)
    noisy = varied(x, replace(still, noise=0.6), Rng(0)) - x
    assert noisy.std().item() == pytest.approx(0.6 / 3**0.5, rel=0.1)  # of U(0, 0.6) N(0, 1)
    soft = varied(x, replace(still, blur=1.0), Rng(0))
    rough = (x[..., 1:] - x[..., :-1]).square().mean()
    assert (soft[..., 1:] - soft[..., :-1]).square().mean() < 0.7 * rough
    assert soft.mean().item() == pytest.approx(x.mean().item(), abs=0.05)
    dot = torch.full((500, 1, 9, 9), -1.0)
    dot[..., 4, 4] = 1  # black is moved in from outside, and the dot by up to 0.4 of the half side
    moved = varied(dot, replace(still, move=0.4), Rng(1)) + 1
    place = torch.arange(9.0) - 4
    column = (moved.sum((1, 2)) * place).sum(1) / moved.sum((1, 2, 3)).clamp(min=1e-6)
    assert 1.0 < column.abs().max() < 0.4 * 4.5 * 1.8
    assert column.mean().item() == pytest.approx(0, abs=0.15)
    assert torch.equal(varied(x, still, Rng(0)), varied(x, still, Rng(0)))


@pytest.mark.parametrize(("folder", "least"), [(JUDGE, 0.97), (GUIDE, 0.96)])
def test_the_shipped_classifiers_are_as_good_as_they_say(folder: Path, least: float) -> None:
    test = digits().test
    right = accuracy(load_classifier(folder), test.x, test.labels)
    stated = json.loads((folder / "config.json").read_text())["held_out_accuracy"]
    assert right > least and right == pytest.approx(stated, abs=0.003)  # half precision


def test_judge_and_guide_have_nothing_in_common() -> None:
    trained = [json.loads((f / "config.json").read_text())["training"] for f in (JUDGE, GUIDE)]
    assert {run["half"] for run in trained} == {"even", "odd"}
    assert trained[0]["loop"]["seed"] != trained[1]["loop"]["seed"]
    judge, guide = load_classifier(JUDGE), load_classifier(GUIDE)
    images = digits().test
    wrong = [classifier(images.x).argmax(1) != images.labels for classifier in (judge, guide)]
    assert not torch.equal(*wrong)


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    images = digits()
    with pytest.raises(ValueError, match="unknown half 'left'"):
        ClassifierTraining(half="left")
    with pytest.raises(ValueError, match=r"got 1, 0\.3 and 0"):
        ClassifierTraining(move=1)
    with pytest.raises(ValueError, match="at least 4 x 4"):
        ClassifierConfig(shape=(1, 2, 8))
    with pytest.raises(ValueError, match=r"\(N, 1, 8, 8\), got \(2, 1, 9, 8\)"):
        Classifier(SMALL)(torch.zeros(2, 1, 9, 8))
    bare = replace(images, labels=None, names=())
    with pytest.raises(ValueError, match="no labels, so there is nothing to classify"):
        settled(ClassifierTraining(), bare)
    seen = replace(images, held_out=torch.zeros(1797, dtype=torch.bool))
    config = settled(ClassifierTraining(), images)
    with pytest.raises(ValueError, match="none of 1797 pictures is held out"):
        held_out_accuracy(Classifier(config.model).state_dict(), seen, config)
    with pytest.raises(ValueError, match="no picture is left to train on of 1797"):
        chosen(replace(images, held_out=torch.ones(1797, dtype=torch.bool)), "all")
    with pytest.raises(CheckpointError, match="holds no classifier"):
        load_classifier(SHIPPED)
    other = Classifier(replace(SMALL, features=9)).state_dict()
    save_classifier(tmp_path / "c", SMALL, other)
    with pytest.raises(CheckpointError, match="do not fit its config"):
        load_classifier(tmp_path / "c")

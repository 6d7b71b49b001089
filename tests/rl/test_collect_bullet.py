"""Drivers of Bullet's balls and cars: careful ones cost nothing, reckless ones do."""

from pathlib import Path

import numpy as np
import pytest

from domains.rl import environments
from domains.rl.cli import main
from domains.rl.collect.behaviour import Behaviour
from domains.rl.collect.bullet import bullet_presets
from domains.rl.collect.driver import Driver
from domains.rl.collect.presets import PRESETS

pytest.importorskip("gymnasium")
REASON = "needs bullet-safety-gym, which the extra `bullet` and a line of the Makefile install"
pytest.importorskip("pybullet_utils", reason=REASON)
pytest.importorskip("bullet_safety_gym", reason=REASON)

# Cars take four times as long a step.
NAMES = tuple(
    pytest.param(name, marks=pytest.mark.slow) if name.startswith("car") else name
    for name in bullet_presets()
)


def drive(env, behaviour: Behaviour, seed: int) -> tuple[float, np.ndarray]:
    """Return and costs, (T,), of an episode."""
    observation, _ = env.reset(seed=seed)
    actor = behaviour.start(env, np.random.default_rng(seed))
    total, costs = 0.0, []
    while True:
        action = actor.act(observation)
        assert env.action_space.contains(action)
        observation, reward, terminated, truncated, info = env.step(action)
        total += reward
        costs.append(info["cost"])
        if terminated or truncated:
            return total, np.array(costs)


@pytest.mark.parametrize("name", NAMES)
def test_the_best_driver_costs_nothing_and_earns_more_than_random(name: str) -> None:
    preset = PRESETS[name]
    env = environments.make(preset.environment, **preset.options)
    best = [drive(env, preset.best, seed) for seed in range(3)]
    assert sum(costs.sum() for _, costs in best) == 0
    random = preset.qualities[-1]
    assert random.name == "random"
    floor = [drive(env, random.behaviour, seed)[0] for seed in range(3)]
    assert min(total for total, _ in best) > max(floor) + 100


@pytest.mark.parametrize("name", NAMES)
def test_the_fast_drivers_earn_more_and_violate(name: str) -> None:
    preset = PRESETS[name]
    env = environments.make(preset.environment, **preset.options)
    calm, fast = (
        [drive(env, q.behaviour, seed) for seed in range(3)]
        for q in preset.qualities
        if q.name in ("calm", "fast")
    )
    assert sum(costs.sum() for _, costs in calm) == 0
    assert np.mean([total for total, _ in fast]) > 2 * np.mean([total for total, _ in calm])
    reckless = Driver((10.0, 10.0), (9.0, 9.0))
    assert drive(env, reckless, 0)[1].sum() > 30


@pytest.mark.parametrize("name", ["ballrun/mixed", "ballcircle/mixed"])
def test_weaving_leaves_the_safe_region_and_comes_back(name: str) -> None:
    preset = PRESETS[name]
    env = environments.make(preset.environment, **preset.options)
    weave = next(q.behaviour for q in preset.qualities if q.name == "weave")
    recovered = 0
    for seed in range(12):
        costs = drive(env, weave, seed)[1]
        recovered += bool((np.diff(costs) < 0).any())
    assert recovered >= 3


def test_a_lane_is_kept_and_cost_begins_beyond_it() -> None:
    env = environments.make("SafetyBallCircle-v0")
    costs = [
        drive(env, Driver((4.0, 4.0), lane=(lane, lane), noise=(0.0, 0.0)), 1)[1].sum()
        for lane in (5.5, 6.5)
    ]
    assert costs[0] == 0 < costs[1]


def test_a_driver_says_what_it_draws_and_what_it_drives() -> None:
    said = Driver((1.0, 2.0), sway=(0.0, 3.0)).describe()
    assert "speed U[1, 2]" in said and "sway U[0, 3]" in said and "surge" not in said
    env = environments.make("Pendulum-v1")
    with pytest.raises(ValueError, match=r"Driver got .*Pendulum.*Ball or RaceCar"):
        Driver((1.0, 1.0)).start(env, np.random.default_rng(0))


def test_the_same_seed_draws_the_same_actions() -> None:
    env = environments.make("SafetyBallRun-v0")
    rough = next(q.behaviour for q in PRESETS["ballrun/mixed"].qualities if q.name == "rough")
    observation, _ = env.reset(seed=0)

    def actions(seed: int) -> np.ndarray:
        actor = rough.start(env, np.random.default_rng(seed))
        return np.stack([actor.act(observation) for _ in range(20)])

    np.testing.assert_array_equal(actions(1), actions(1))
    assert not np.array_equal(actions(1), actions(2))


@pytest.mark.parametrize("name", NAMES)
def test_presets_record(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    main(["collect", name, "--quick"])
    assert "mean cost" in capsys.readouterr().out
    data = minari.load_dataset(f"guided/{name.replace('/', '-')}-v0")
    steps = PRESETS[name].steps
    limit = data.recover_environment().spec.max_episode_steps
    assert data.total_episodes == 4 and data.total_steps == 4 * limit and steps % limit == 0
    for episode in data.iterate_episodes():
        assert set(np.unique(episode.infos["cost"])) <= {0.0, 1.0}
        assert len(episode.infos["cost"]) == limit + 1

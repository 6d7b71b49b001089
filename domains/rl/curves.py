"""The learning curve of a run: its policy, evaluated while the energy is trained."""

import json
from functools import partial
from typing import Any

from domains.rl import environments
from domains.rl.assess import require_fit, row
from domains.rl.evaluate import Trials, evaluate
from domains.rl.plots import learning_curves
from domains.rl.statistics import Interval
from domains.rl.train import Progress, Run
from domains.rl.vector import SideBySide
from guided.results import write_json


class Curve:
    """Evaluates a run at equal distances; ``curve.json`` and ``curve.png`` of its folder show it.

    All evaluations play the same episodes, at the policy's own scale. What ``curve.json`` already
    holds is not played again.

    Args:
        run: not begun.
        count: evaluations.
        episodes: of each.

    Raises:
        ValueError: for counts below 1, or an environment that the data do not tell, that cannot be
            made or does not fit, or that has no time limit, or a ``curve.json`` of another
            number of episodes.
    """

    def __init__(self, run: Run, count: int, episodes: int) -> None:
        if count < 1:
            raise ValueError(f"--curve must be at least 1 evaluation, or 0 for none, got {count}")
        which = run.data.environment
        if which is None:
            raise ValueError(
                f"{run.data.name} does not tell its environment, in which a curve is evaluated; "
                f"leave out --curve"
            )
        self.run, self.make_env = run, partial(environments.make, which)
        sizes = run.data.states.shape[1], run.data.actions.shape[1]
        require_fit(self.make_env, *sizes, run.data.keys, run.data.name)
        self.trials = Trials(episodes, seed=run.config.seed, discount=run.config.critic.gamma)
        with SideBySide(self.make_env, 1) as envs:
            if envs.steps_at_most is None:
                raise ValueError(
                    f"the environment of {run.data.name} has no time limit, so that an episode "
                    f"might never end; leave out --curve"
                )
        loop = run.config.energy_loop
        self.every = -(-loop.steps // count // loop.log_every) * loop.log_every
        self.points = self._kept()

    def add(self, progress: Progress) -> None:
        """Evaluate, if it is time and was not done before."""
        step, last = progress.done, progress.done == progress.of
        due = progress.stage == "energy" and (last or step % self.every == 0)
        if not due or step in self.points or progress.weights is None:
            return
        energy = self.run.energy
        kept = {key: value.clone() for key, value in energy.state_dict().items()}
        energy.load_state_dict(progress.weights)
        played = evaluate(self.make_env, self.run.policy(), self.trials)
        energy.load_state_dict(kept)
        energy.requires_grad_(True).train()
        self.points[step] = row(played, self.run.data.reference)
        self._write()

    def ends(self) -> dict[str, dict[str, Any]]:
        """Return the ``last`` point and the ``best``, the first of the largest discounted return.

        The latter flatters: the episodes that judge it have also chosen it.
        """
        steps = sorted(self.points)
        best = max(steps, key=lambda step: self.points[step]["discounted"]["value"])
        chosen = {"last": steps[-1], "best": best}
        return {name: {"step": step, **self.points[step]} for name, step in chosen.items()}

    def lost(self) -> str | None:
        """Return a sentence if a run went on from beyond the steps of some evaluations."""
        end = self.run.config.energy_loop.steps
        due = {*range(self.every, end, self.every), end}
        made = due & self.points.keys()
        if made == due:
            return None
        return (
            f"{len(due)} evaluations asked for, {len(made)} made: the others lay before the resume"
        )

    def _kept(self) -> dict[int, dict[str, Any]]:
        path = self.run.folder / "curve.json"
        if not path.exists():
            return {}
        try:
            found = dict(json.loads(path.read_text())["points"])
            points = {int(step): dict(own) for step, own in found.items()}
            episodes = {own["episodes"] for own in points.values()}
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is truncated or no learning curve; delete it") from None
        if other := episodes - {self.trials.episodes}:
            raise ValueError(
                f"{path} has evaluations of {other.pop()} episodes, not {self.trials.episodes}; "
                f"give as many, or delete it"
            )
        return points

    def _write(self) -> None:
        points = dict(sorted(self.points.items()))
        write_json(self.run.folder / "curve.json", {"points": points, **self.ends()})
        drawn = [(step, Interval(**own["discounted"])) for step, own in points.items()]
        learning_curves(
            {"guided policy": drawn}, self.run.folder / "curve.png",
            f"The same {self.trials.episodes} episodes along the training of the energy",
            effort="training steps of the energy", score="discounted return",
        )  # fmt: skip

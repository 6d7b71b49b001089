"""``python -m baselines.rl.d3rlpy_check``: our IQL and TD3+BC beside those of d3rlpy.

Both learn from the same normalised transitions, with the same sizes, batches, rates, moments of
Adam and numbers of steps, by one-step targets, and play the same episodes. What is left to differ:
the initial weights, the order of batches, and that d3rlpy drops the last transition of an episode
that was cut, because its data sets do not hold final states.

d3rlpy wants an older Gymnasium than ours, so that it needs an environment of its own:

    python -m venv .d3rlpy && .d3rlpy/bin/pip install d3rlpy==2.8.1
    .d3rlpy/bin/pip install --editable ".[rl]"    # which replaces its Gymnasium; d3rlpy works on
    .d3rlpy/bin/python -m baselines.rl.d3rlpy_check DATASET
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor

from baselines.rl.contest import TEST_SEED, check_seeds, figures, plain, played_in
from baselines.rl.iql import IQLConfig
from baselines.rl.policy import NetPolicy
from baselines.rl.registry import BASELINES
from baselines.rl.table import markdown, row
from baselines.rl.td3_bc import TD3BCConfig
from baselines.rl.transitions import Bootstrap, Transitions, short
from domains.rl import environments
from domains.rl.acting import Policy
from domains.rl.data.offline import OfflineData
from domains.rl.data.sources import load_data
from domains.rl.evaluate import Trials, evaluate
from guided.command import in_words
from guided.results import require_writable, versions, write_json

BETAS = (0.9, 0.99)  # of Adam, as in guided.optimizer; d3rlpy's own are 0.9 and 0.999


@dataclass(frozen=True)
class Check:
    """Train and play both implementations of IQL and of TD3+BC."""

    dataset: Annotated[str, tyro.conf.Positional]
    """A Minari id, or a D4RL file."""
    steps: int = 10_000
    """Optimisation steps of each."""
    seeds: tuple[int, ...] = (0,)
    """Of the trainings."""
    episodes: int = 100
    """Of each seed, the same as in the comparison."""
    lr: float = 1e-3
    """Learning rate, constant."""
    gamma: float = 0.99
    """Discount of a step."""
    expectile: float = 0.9
    """Of IQL's values."""
    beta: float = 30.0
    """Inverse temperature of IQL's weights, in units of one over the reward."""
    alpha: float = 2.5
    """Weight of Q in TD3+BC."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of all networks."""
    json: Path | None = None
    """Write all figures to this file."""

    def run(self) -> None:
        """Train, play, and print the table.

        Raises:
            ValueError: for numbers out of range, without d3rlpy, or for data without an environment
                or one without a limit of steps.
        """
        check_seeds(self.seeds)
        d3rlpy = _d3rlpy()
        require_writable(self.json)
        torch.set_num_threads(1)
        data = load_data(self.dataset)
        where, limit = played_in(data)
        trained: dict[str, Callable[[int], Policy]] = {
            "TD3+BC, ours": lambda seed: self._ours("td3_bc", data, seed),
            "TD3+BC, d3rlpy": lambda seed: self._theirs(d3rlpy, self._td3_bc, data, seed),
            "IQL, ours": lambda seed: self._ours("iql", data, seed),
            "IQL, d3rlpy": lambda seed: self._theirs(d3rlpy, self._iql, data, seed),
        }
        trials = Trials(self.episodes, TEST_SEED, discount=self.gamma)
        rows = []
        for title, train in trained.items():
            results = []
            for seed in self.seeds:
                began = time.process_time()
                policy = train(seed)
                seconds = {"cpu": time.process_time() - began}
                games = evaluate(lambda: environments.make(where), policy, trials)
                results.append({"test": figures(games), "seconds": seconds})
            rows.append(row(title, results, limit))
        print(markdown(rows))
        if self.json is not None:
            others = {"d3rlpy": d3rlpy.__version__}
            about = {"options": asdict(self), "rows": rows, "versions": versions() | others}
            write_json(self.json, plain(about))

    def _ours(self, name: str, data: OfflineData, seed: int) -> Policy:
        loop = replace(short(self.steps), lr=self.lr, decay="constant", warmup=0, seed=seed)
        bootstrap = Bootstrap(self.gamma)
        config: Any = TD3BCConfig(self.alpha, hidden=self.hidden, bootstrap=bootstrap)
        if name == "iql":
            config = IQLConfig(
                self.expectile, self.beta, unit=1.0, hidden=self.hidden, bootstrap=bootstrap
            )
        training = BASELINES[name].train(data, replace(config, loop=loop, seed=seed), None)
        while True:
            try:
                next(training)
            except StopIteration as end:
                policy: Policy = end.value
                return policy

    def _theirs(
        self, d3rlpy: Any, algorithm: Callable[[Any], Any], data: OfflineData, seed: int
    ) -> Policy:
        d3rlpy.seed(seed)
        seen = Transitions(data, Bootstrap(self.gamma))
        logged = d3rlpy.dataset.MDPDataset(
            observations=seen.states[data.at].numpy(),
            actions=seen.actions.numpy(),
            rewards=data.rewards.numpy(),
            terminals=data.terminals.numpy().astype(np.float32),
            timeouts=data.timeouts.numpy().astype(np.float32),
            action_space=d3rlpy.constants.ActionSpace.CONTINUOUS,
        )
        algo = algorithm(d3rlpy).create()
        algo.fit(
            logged,
            n_steps=self.steps,
            n_steps_per_epoch=self.steps,
            logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
            show_progress=False,
        )

        def choose(states: Tensor, _: Any, __: float) -> Tensor:
            return torch.from_numpy(algo.predict(states.numpy())).float()

        return NetPolicy(choose, data, 0.0, seen.normaliser)

    def _shared(self, d3rlpy: Any) -> dict[str, Any]:
        encoder = d3rlpy.models.encoders.VectorEncoderFactory(list(self.hidden))
        adam = d3rlpy.optimizers.AdamFactory(betas=BETAS)
        return {
            "gamma": self.gamma,
            "actor_learning_rate": self.lr,
            "critic_learning_rate": self.lr,
            "actor_optim_factory": adam,
            "critic_optim_factory": adam,
            "actor_encoder_factory": encoder,
            "critic_encoder_factory": encoder,
        }

    def _td3_bc(self, d3rlpy: Any) -> Any:
        return d3rlpy.algos.TD3PlusBCConfig(alpha=self.alpha, **self._shared(d3rlpy))

    def _iql(self, d3rlpy: Any) -> Any:
        own = self._shared(d3rlpy)
        return d3rlpy.algos.IQLConfig(
            expectile=self.expectile,
            weight_temp=self.beta,
            value_encoder_factory=own["critic_encoder_factory"],
            **own,
        )


def _d3rlpy() -> Any:
    try:
        import d3rlpy
    except ImportError as error:
        raise ValueError(
            f"this check needs d3rlpy in an environment of its own ({error.name} is missing); "
            f"python -m venv, then pip install d3rlpy==2.8.1"
        ) from None
    return d3rlpy


def main(args: list[str] | None = None) -> None:
    """Run the check; a user's mistake is one sentence and exit status 1."""
    with in_words("d3rlpy_check"):
        tyro.cli(Check, prog="python -m baselines.rl.d3rlpy_check", args=args).run()


if __name__ == "__main__":
    main()

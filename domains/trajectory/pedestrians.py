"""How predictors of pedestrians are trained: one recipe for every fold of ETH/UCY."""

from domains.trajectory.batch import Window
from domains.trajectory.dataset import Augmentation
from domains.trajectory.model import ModelConfig, Prior
from domains.trajectory.readers.eth_ucy import DT, FUTURE, HISTORY
from domains.trajectory.train import TrajectoryTraining
from guided.train import TrainConfig


def pedestrian_training(prior: Prior = "ogd", seed: int = 0) -> TrajectoryTraining:
    """Return the recipe: windows of 8 + 12 steps of 0.4 s, no map, 20 marginal modes.

    Args:
        prior: of the diffusion.
        seed: of the initial weights and of everything random in the loop.
    """
    window = Window(history=HISTORY, future=FUTURE, dt=DT, reach=50.0, points=6, pieces=0)
    return TrajectoryTraining(
        model=ModelConfig(window=window, latents=6, modes=20, prior=prior),
        vary=Augmentation(scale=(0.6, 1.7), mirror=True, agents=8),
        loop=TrainConfig(
            steps=2000,
            batch=32,
            lr=1.5e-3,
            warmup=100,
            ema=0.998,
            seed=seed,
            log_every=200,
            save_every=500,
        ),
    )

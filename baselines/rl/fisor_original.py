r"""FISOR as the original trains it: separate critics, and the policy weighed in every iteration.

==========  ======================================================================================
critics     Q, V, Q_h and V_h as networks of their own with optimisers of their own
            (:mod:`domains.rl.bench.separate`)
policy      :math:`\min_\theta\; E\, w(s, a)\, |\epsilon - \epsilon_\theta(a_t, s, t)|^2` on rows
            drawn evenly, w from the critics of the moment (:mod:`domains.rl.bench.interleaved`)
acting      of N draws, the one of the least Q_h
==========  ======================================================================================

What it learns from, the weights' formula, the denoiser and how actions are drawn are those of
:mod:`domains.rl.safe.train`: against it, this tells what the order of the training does.

Source: Zheng et al., 2024, Safe Offline Reinforcement Learning with Feasibility-Guided Diffusion
Model, algorithm 1, https://arxiv.org/abs/2401.10700, and its code.
Differs: see the two modules above; and the denoiser is ours, in continuous time.
"""

from collections.abc import Generator
from pathlib import Path

from domains.rl.bench.interleaved import Interleaved
from domains.rl.data.offline import OfflineData
from domains.rl.policy import DiffusionPolicy
from domains.rl.safe.train import SafeRun, SafeTraining
from domains.rl.train import Progress


def train(
    data: OfflineData, config: SafeTraining, folder: Path | None = None
) -> Generator[Progress, None, DiffusionPolicy]:
    """Train, and return the policy.

    Args:
        data: logged episodes, with costs or margins.
        config: how; the critics' loop tells the number of iterations, and updates of the policy are
            spread evenly over them (the original makes two an iteration).
        folder: where the policy is saved, as ``policy``; None saves it nowhere. A training that was
            stopped begins anew.

    Raises:
        FloatingPointError: when the loss is no longer finite.
        ValueError: for data that do not tell what is unsafe.
    """
    run = SafeRun(data, config, folder or Path())
    order, loop = Interleaved(run), config.critic_loop
    for step in range(loop.steps):
        losses = order.iteration(step)
        if not all(abs(loss) < float("inf") for loss in losses):
            raise FloatingPointError(
                f"the losses of critics and policy are {losses} after {step + 1} iterations; lower "
                f"the learning rates ({loop.lr} and {config.policy_loop.lr})"
            )
        if (step + 1) % loop.log_every == 0 or step + 1 == loop.steps:
            yield Progress("fisor_original", step + 1, loop.steps, losses[0])
    order.finish()
    policy = run.policy()
    if folder is not None:
        policy.save(folder / "policy")
    return policy

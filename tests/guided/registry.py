"""One row per sampler and guidance method; every contract test runs over all of them.

A new method adds one row here, or in the folder ``rows``. ``calls`` and ``rows`` are what the
method declares: network calls, and network evaluations per sample, of a run of N steps that ends at
data, ``vjps`` the gradients through the network. Methods of whole ensembles have contracts of their
own beside their tests.
"""

from typing import Any

import torch

from guided import (
    CFG,
    DDIM,
    DDPM,
    SCG,
    BestOfN,
    Between,
    ClassifierGuidance,
    Denoiser,
    DPMpp2M,
    FunctionEnergy,
    Heun,
    Level,
    Operator,
    Prediction,
    VPLinear,
)
from guided.denoiser import DenoiserWrapper
from guided.guidance import (
    CEP,
    DPG,
    DPS,
    ECM,
    ECMR,
    MPGD,
    SMC,
    TDS,
    TMPD,
    EnergyNet,
    NextNoiseMean,
    ScoreFunction,
    ZeroOrderDPS,
)
from tests.guided.rows import delta, network, steps
from tests.guided.toy import Row, null

ENERGY = FunctionEnergy(lambda x0: (x0 - 1).square().flatten(1).sum(1))
MEAN = Operator(lambda x0: x0.flatten(1).mean(1, keepdim=True), torch.ones(1, 1), 0.5)


class NoisyToy:
    """A differentiable energy of noisy samples."""

    differentiable = True

    def __call__(self, x: torch.Tensor, level: Level, cond: Any = None) -> torch.Tensor:
        return (x - level.alpha).square().flatten(1).sum(1)


class Bowl(torch.nn.Module):
    """An energy network for samples of any shape and conditions (B,)."""

    def forward(
        self, x: torch.Tensor, time: torch.Tensor, cond: torch.Tensor | None = None
    ) -> torch.Tensor:
        centre = 1 - time if cond is None else cond.to(x) - time
        return -(x - centre.reshape(-1, *[1] * (x.ndim - 1))).square().flatten(1).sum(1)


BOWL = EnergyNet(Bowl(), VPLinear())


class Referred(DenoiserWrapper):
    """ECMR with references of the shape of x: the best point, and one that is always worse."""

    def __init__(self, denoiser: Denoiser, scale: float = 1.0, sweeps: int = 1) -> None:
        super().__init__(denoiser)
        self.scale, self.sweeps = scale, sweeps

    def forward(self, x: torch.Tensor, level: Level, cond: Any = None) -> Prediction:
        best = torch.ones(1, 1, *x.shape[1:])
        both = torch.cat([best, 9 * best], 1)
        return ECMR(self.denoiser, ENERGY, both, self.scale, sweeps=self.sweeps)(x, level, cond)


METHODS: dict[str, Row] = (
    delta.ROWS
    | network.ROWS
    | steps.ROWS
    | {
        "DDIM": Row(DDIM, lambda n: n, lambda n: n),
        "DDIM-0.5": Row(lambda d: DDIM(d, eta=0.5), lambda n: n, lambda n: n),
        "DDPM": Row(DDPM, lambda n: n, lambda n: n, lambda d: DDIM(d, eta=1.0), DDPM),
        "DDPM-large": Row(lambda d: DDPM(d, "fixed_large"), lambda n: n, lambda n: n),
        "Heun": Row(Heun, lambda n: 2 * n - 1, lambda n: 2 * n - 1),
        "DPMpp2M": Row(DPMpp2M, lambda n: n, lambda n: n),
        "DPMpp2M-1": Row(lambda d: DPMpp2M(d, eta=1.0), lambda n: n, lambda n: n),
        "SCG": Row(
            lambda d: SCG(DDPM(d), ENERGY, candidates=3),
            lambda n: n,
            lambda n: 1 + 3 * (n - 1),
            lambda d: SCG(DDPM(d), ENERGY, candidates=1),
            DDPM,
        ),
        "SCG-2M": Row(
            lambda d: SCG(DPMpp2M(d, eta=1.0), ENERGY, candidates=3),
            lambda n: n,
            lambda n: 1 + 3 * (n - 1),
            lambda d: SCG(DPMpp2M(d, eta=1.0), ENERGY, candidates=1),
            lambda d: DPMpp2M(d, eta=1.0),
        ),
        "SCG-soft": Row(
            lambda d: SCG(DDPM(d), ENERGY, candidates=3, temperature=0.5),
            lambda n: n,
            lambda n: 1 + 3 * (n - 1),
            lambda d: SCG(DDPM(d), ENERGY, candidates=1, temperature=0.5),
            DDPM,
        ),
        "SCG-restarts": Row(
            lambda d: SCG(DDPM(d), MEAN, candidates=3, restarts=2, high=0.0),
            lambda n: 1 + 3 * (n - 1),
            lambda n: 1 + 7 * (n - 1),
            lambda d: SCG(DDPM(d), MEAN, candidates=1, restarts=2, high=0.0),
            DDPM,
        ),
        "BestOfN": Row(
            lambda d: BestOfN(DDPM(d), ENERGY, candidates=3),
            lambda n: n,
            lambda n: 3 * n,
            lambda d: BestOfN(DDPM(d), ENERGY, candidates=1),
            DDPM,
        ),
        "CFG": Row(
            lambda d: DDIM(CFG(d, 2.0, null)),
            lambda n: n,
            lambda n: 2 * n,
            lambda d: DDIM(CFG(d, 1.0, null)),
            DDIM,
        ),
        "CFG-between": Row(
            lambda d: DDIM(Between(CFG(d, 2.0, null), low=0.0, high=float("inf"))),
            lambda n: n,
            lambda n: 2 * n,
            lambda d: DDIM(Between(CFG(d, 2.0, null), low=1.0, high=1.0)),
            DDIM,
        ),
        "SCG-between": Row(
            lambda d: Between(SCG(DDPM(d), ENERGY, candidates=3)),
            lambda n: n,
            lambda n: 1 + 3 * (n - 1),
            lambda d: Between(SCG(DDPM(d), ENERGY, candidates=3), low=1.0, high=1.0),
            DDPM,
        ),
        "ClassifierGuidance": Row(
            lambda d: DDPM(ClassifierGuidance(d, NoisyToy())),
            lambda n: n,
            lambda n: n,
            lambda d: DDPM(ClassifierGuidance(d, NoisyToy(), scale=0.0)),
            DDPM,
        ),
        "CEP": Row(
            lambda d: DDPM(CEP(d, BOWL)),
            lambda n: n,
            lambda n: n,
            lambda d: DDPM(CEP(d, BOWL, scale=0.0)),
            DDPM,
        ),
        "CEP-scales": Row(
            lambda d: DPMpp2M(CEP(d, BOWL, torch.tensor([0.5]))),
            lambda n: n,
            lambda n: n,
            lambda d: DPMpp2M(CEP(d, BOWL, torch.tensor([0.0]))),
            DPMpp2M,
        ),
        "DPS": Row(
            lambda d: DPS(DDPM(d), MEAN),
            lambda n: n,
            lambda n: n,
            lambda d: DPS(DDPM(d), MEAN, scale=0.0),
            DDPM,
            vjps=lambda n: n,
        ),
        "DPG": Row(
            lambda d: DPG(DDPM(d), MEAN, queries=4),
            lambda n: n,
            lambda n: n,
            lambda d: DPG(DDPM(d), MEAN, scale=0.0, queries=4),
            DDPM,
            vjps=lambda n: n,
        ),
        "ZeroOrderDPS": Row(
            lambda d: ZeroOrderDPS(DDPM(d), MEAN, queries=4),
            lambda n: n,
            lambda n: n,
            lambda d: ZeroOrderDPS(DDPM(d), MEAN, scale=0.0, queries=4),
            DDPM,
            vjps=lambda n: n,
        ),
        "ZeroOrderDPS-followed": Row(
            lambda d: ZeroOrderDPS(DDPM(d), MEAN, queries=4, refresh=0.5, few=2),
            lambda n: n,
            lambda n: n,
            lambda d: ZeroOrderDPS(DDPM(d), MEAN, scale=0.0, queries=4, refresh=0.5, few=2),
            DDPM,
            vjps=lambda n: n,
        ),
        "MPGD": Row(
            lambda d: DDPM(MPGD(d, ENERGY, scale=0.2)),
            lambda n: n,
            lambda n: n,
            lambda d: DDPM(MPGD(d, ENERGY, scale=0.0)),
            DDPM,
        ),
        "ECM": Row(
            lambda d: DDPM(ECM(d, ENERGY, scale=0.4, clip=0.3, spread=2.0)),
            lambda n: n,
            lambda n: n,
            lambda d: DDPM(ECM(d, ENERGY, scale=0.0)),
            DDPM,
        ),
        "ECM-last-off": Row(
            lambda d: DDPM(Between(ECM(d, ENERGY), low=d.schedule.level(0.2).noise_to_signal)),
            lambda n: n,
            lambda n: n,
        ),
        "ECMR": Row(
            lambda d: DDPM(Between(Referred(d), low=d.schedule.level(0.2).noise_to_signal)),
            lambda n: n,
            lambda n: n,
            lambda d: DDPM(Referred(d, scale=0.0, sweeps=0)),
            DDPM,
        ),
        "ScoreFunction": Row(
            lambda d: DDPM(ScoreFunction(d, ENERGY, scale=0.5)),
            lambda n: n,
            lambda n: n,
            lambda d: DDPM(ScoreFunction(d, ENERGY, scale=0.0)),
            DDPM,
            vjps=lambda n: n,
        ),
        "NextNoiseMean": Row(
            lambda d: NextNoiseMean(DDPM(d), ENERGY, scale=0.2),
            lambda n: n,
            lambda n: n,
            lambda d: NextNoiseMean(DDPM(d), ENERGY, scale=0.0),
            DDPM,
        ),
        "NextNoiseMean-2M": Row(
            lambda d: NextNoiseMean(DPMpp2M(d, eta=1.0), ENERGY, scale=0.2, clip=0.1),
            lambda n: n,
            lambda n: n,
        ),
        "TMPD": Row(lambda d: DDPM(TMPD(d, MEAN)), lambda n: n, lambda n: n, vjps=lambda n: 2 * n),
        "TDS-1": Row(
            lambda d: TDS(DDPM(d), MEAN, particles=1),
            lambda n: n,
            lambda n: n,
            vjps=lambda n: n,
        ),
        "SMC-1": Row(
            lambda d: SMC(DDPM(d), ENERGY, particles=1),
            lambda n: n,
            lambda n: n,
            lambda d: SMC(DDPM(d), ENERGY, particles=1),
            DDPM,
        ),
    }
)

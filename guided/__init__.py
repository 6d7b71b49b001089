"""guided: diffusion models that obey a rule, a reward, a constraint or a measurement.

A guided sample is three nested functions, and a guidance method wraps exactly one of them:

    sample(x_T, times)            walks noise to data                     lasts one run
      step(state, t, s)           moves every particle from level t to s  lasts one step
        denoise(x, t, cond)       predicts the clean sample               lasts one network call

    SCG(DDIM(CFG(denoiser, 2.0, null), eta=1.0), energy, candidates=16)      # reads inside out

The notation is in :mod:`guided.schedule`.
"""

from guided.denoiser import Denoiser, DenoiserWrapper, NetDenoiser, Prediction
from guided.energy import Decoded, Energy, FunctionEnergy, Sliced, WeightedSum
from guided.guidance import CFG, DPG, SCG, TDS, BestOfN, Between, ClassifierGuidance, Contrast
from guided.operator import Likelihood, Operator, Simulator
from guided.prior import GaussianPrior
from guided.program import Program
from guided.rng import Rng
from guided.sampler import Gaussian, Sampler, State, StepWrapper
from guided.samplers import DDIM, DDPM, DPMpp2M, Heun
from guided.schedule import VE, Cosine, Level, RectifiedFlow, Schedule, VPLinear
from guided.wrappers import Autocast, Chunked, Counted

__version__ = "0.1.0"

__all__ = [
    "CFG",
    "DDIM",
    "DDPM",
    "DPG",
    "SCG",
    "TDS",
    "VE",
    "Autocast",
    "BestOfN",
    "Between",
    "Chunked",
    "ClassifierGuidance",
    "Contrast",
    "Cosine",
    "Counted",
    "DPMpp2M",
    "Decoded",
    "Denoiser",
    "DenoiserWrapper",
    "Energy",
    "FunctionEnergy",
    "Gaussian",
    "GaussianPrior",
    "Heun",
    "Level",
    "Likelihood",
    "NetDenoiser",
    "Operator",
    "Prediction",
    "Program",
    "RectifiedFlow",
    "Rng",
    "Sampler",
    "Schedule",
    "Simulator",
    "Sliced",
    "State",
    "StepWrapper",
    "VPLinear",
    "WeightedSum",
]

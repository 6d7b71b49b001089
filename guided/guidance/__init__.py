"""Guidance methods, one a file, sorted by the function they wrap: denoise, step or sample."""

from guided.guidance.between import Between
from guided.guidance.denoise.cep import CEP, cep_loss
from guided.guidance.denoise.cfg import CFG, NestedCFG
from guided.guidance.denoise.classifier import ClassifierGuidance, NoisyEnergy
from guided.guidance.denoise.contrast import Contrast, Term
from guided.guidance.denoise.ecm import ECM
from guided.guidance.denoise.ecmr import ECMR
from guided.guidance.denoise.energy_net import EnergyNet, HoistedEnergy
from guided.guidance.denoise.mpgd import MPGD
from guided.guidance.denoise.replace import Replace
from guided.guidance.denoise.score_function import ScoreFunction
from guided.guidance.denoise.tmpd import TMPD
from guided.guidance.sample.best_of_n import BestOfN
from guided.guidance.sample.denoised_eki import DenoisedEKI
from guided.guidance.sample.eki import EKI
from guided.guidance.sample.gibbs import SplitGibbs
from guided.guidance.sample.kalman_waltz import KalmanWaltz
from guided.guidance.sample.sir import SIR
from guided.guidance.sample.tempered import TemperedSMC
from guided.guidance.sample.waltz import Waltz
from guided.guidance.step.cps import CPS
from guided.guidance.step.dpg import DPG
from guided.guidance.step.dps import DPS
from guided.guidance.step.enkg import EnKG
from guided.guidance.step.next_noise_mean import NextNoiseMean
from guided.guidance.step.scg import SCG
from guided.guidance.step.smc import SMC, FKSteering
from guided.guidance.step.tds import TDS
from guided.guidance.step.zeroth import ZeroOrderDPS

__all__ = [
    "CEP",
    "CFG",
    "CPS",
    "DPG",
    "DPS",
    "ECM",
    "ECMR",
    "EKI",
    "MPGD",
    "SCG",
    "SIR",
    "SMC",
    "TDS",
    "TMPD",
    "BestOfN",
    "Between",
    "ClassifierGuidance",
    "Contrast",
    "DenoisedEKI",
    "EnKG",
    "EnergyNet",
    "FKSteering",
    "HoistedEnergy",
    "KalmanWaltz",
    "NestedCFG",
    "NextNoiseMean",
    "NoisyEnergy",
    "Replace",
    "ScoreFunction",
    "SplitGibbs",
    "TemperedSMC",
    "Term",
    "Waltz",
    "ZeroOrderDPS",
    "cep_loss",
]

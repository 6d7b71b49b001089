"""Guidance methods, one a file, sorted by the function they wrap: denoise, step or sample."""

from guided.guidance.attention_regions import AttentionRegions
from guided.guidance.bands import dct_split, down_up, low_pass
from guided.guidance.between import Between
from guided.guidance.denoise.apg import APG
from guided.guidance.denoise.autoguidance import Autoguidance
from guided.guidance.denoise.cep import CEP, cep_loss
from guided.guidance.denoise.cfg import CFG, NestedCFG
from guided.guidance.denoise.cfg_zero_star import CFGZeroStar
from guided.guidance.denoise.cfgpp import CFGpp
from guided.guidance.denoise.classifier import ClassifierGuidance, NoisyEnergy
from guided.guidance.denoise.combined import together
from guided.guidance.denoise.contrast import Contrast, Term
from guided.guidance.denoise.ecm import ECM
from guided.guidance.denoise.ecmr import ECMR
from guided.guidance.denoise.energy_net import EnergyNet, HoistedEnergy
from guided.guidance.denoise.factorised_stg import FactorisedSTG
from guided.guidance.denoise.frequency import FrequencyGuidance
from guided.guidance.denoise.gfcg import GFCG
from guided.guidance.denoise.history import HistoryGuidance
from guided.guidance.denoise.history_levels import fractional, merged, temporal, vanilla
from guided.guidance.denoise.icg import ICG, random_class
from guided.guidance.denoise.mpgd import MPGD
from guided.guidance.denoise.pag import PAG
from guided.guidance.denoise.posterior_icg import ClassAverage, PosteriorICG, all_classes
from guided.guidance.denoise.replace import Replace
from guided.guidance.denoise.rescale import RescaledCFG, rescale
from guided.guidance.denoise.sag import SAG
from guided.guidance.denoise.scfg import SCFG
from guided.guidance.denoise.score_function import ScoreFunction
from guided.guidance.denoise.seg import SEG
from guided.guidance.denoise.sigma_shift import SigmaShift
from guided.guidance.denoise.stg import STG
from guided.guidance.denoise.tcfg import TCFG
from guided.guidance.denoise.tmpd import TMPD
from guided.guidance.denoise.tsg import TSG
from guided.guidance.ops import cap, project
from guided.guidance.sample.best_of_n import BestOfN
from guided.guidance.sample.cfgig import CFGiG
from guided.guidance.sample.denoised_eki import DenoisedEKI
from guided.guidance.sample.eki import EKI
from guided.guidance.sample.gibbs import SplitGibbs
from guided.guidance.sample.kalman_waltz import KalmanWaltz
from guided.guidance.sample.roll_out import roll_out
from guided.guidance.sample.sir import SIR
from guided.guidance.sample.tempered import TemperedSMC
from guided.guidance.sample.waltz import Waltz
from guided.guidance.step.adaptive import AdaptiveGuidance
from guided.guidance.step.cps import CPS
from guided.guidance.step.dpg import DPG
from guided.guidance.step.dps import DPS
from guided.guidance.step.enkg import EnKG
from guided.guidance.step.linear_ag import LinearAG, fit_linear_ag
from guided.guidance.step.linear_table import LinearTable
from guided.guidance.step.momentum import Momentum
from guided.guidance.step.next_noise_mean import NextNoiseMean
from guided.guidance.step.past import PastGuidance
from guided.guidance.step.predictor_corrector import PredictorCorrector
from guided.guidance.step.scg import SCG
from guided.guidance.step.smc import SMC, FKSteering
from guided.guidance.step.tds import TDS
from guided.guidance.step.zeroth import ZeroOrderDPS
from guided.guidance.tokens import blurred_rows

__all__ = [
    "APG",
    "CEP",
    "CFG",
    "CPS",
    "DPG",
    "DPS",
    "ECM",
    "ECMR",
    "EKI",
    "GFCG",
    "ICG",
    "MPGD",
    "PAG",
    "SAG",
    "SCFG",
    "SCG",
    "SEG",
    "SIR",
    "SMC",
    "STG",
    "TCFG",
    "TDS",
    "TMPD",
    "TSG",
    "AdaptiveGuidance",
    "AttentionRegions",
    "Autoguidance",
    "BestOfN",
    "Between",
    "CFGZeroStar",
    "CFGiG",
    "CFGpp",
    "ClassAverage",
    "ClassifierGuidance",
    "Contrast",
    "DenoisedEKI",
    "EnKG",
    "EnergyNet",
    "FKSteering",
    "FactorisedSTG",
    "FrequencyGuidance",
    "HistoryGuidance",
    "HoistedEnergy",
    "KalmanWaltz",
    "LinearAG",
    "LinearTable",
    "Momentum",
    "NestedCFG",
    "NextNoiseMean",
    "NoisyEnergy",
    "PastGuidance",
    "PosteriorICG",
    "PredictorCorrector",
    "Replace",
    "RescaledCFG",
    "ScoreFunction",
    "SigmaShift",
    "SplitGibbs",
    "TemperedSMC",
    "Term",
    "Waltz",
    "ZeroOrderDPS",
    "all_classes",
    "blurred_rows",
    "cap",
    "cep_loss",
    "dct_split",
    "down_up",
    "fit_linear_ag",
    "fractional",
    "low_pass",
    "merged",
    "project",
    "random_class",
    "rescale",
    "roll_out",
    "temporal",
    "together",
    "vanilla",
]

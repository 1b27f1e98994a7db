"""Weights as the words of a memory, and what a flipped bit of them does: NumPy alone.

`memory` makes words of a tensor and reads them back, `effects` gives the exact change of every bit
at once. The search for the bits that matter most is in `golden.training.attack`, which needs torch.
"""

from narrowgauge.golden.attack.effects import Effects, effects
from narrowgauge.golden.attack.layout import FIELDS, Layout, Place, get_weights
from narrowgauge.golden.attack.memory import Flip, WeightMemory
from narrowgauge.golden.attack.plan import METHODS, GuardPlan, Plan
from narrowgauge.golden.attack.steps import IntSteps

__all__ = [
    "FIELDS",
    "METHODS",
    "Effects",
    "Flip",
    "GuardPlan",
    "IntSteps",
    "Layout",
    "Place",
    "Plan",
    "WeightMemory",
    "effects",
    "get_weights",
]

"""What a user asks of models, sampling and training: frozen dataclasses that check themselves. No torch.

They stand apart from the functions that use them, so that a command which only reads what a run was asked starts at
once. Settings of a stage without torch stand in that stage, and those of a method in `inward.methods.settings`.
"""

from inward.settings.group_policy import GroupPolicySettings
from inward.settings.loading import ModelSettings
from inward.settings.preference import PreferenceSettings
from inward.settings.ray import RaySettings
from inward.settings.reward_model import RewardModelSettings
from inward.settings.sampling import SamplingSettings
from inward.settings.self_confidence import SelfConfidenceSettings
from inward.settings.serving import ServerSettings
from inward.settings.trainer import LoraSettings
from inward.settings.tuning import TuningSettings

__all__ = [
    "GroupPolicySettings",
    "LoraSettings",
    "ModelSettings",
    "PreferenceSettings",
    "RaySettings",
    "RewardModelSettings",
    "SamplingSettings",
    "SelfConfidenceSettings",
    "ServerSettings",
    "TuningSettings",
]

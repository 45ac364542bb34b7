"""Training: settings to TRL's config, records to TRL's columns, a checkpoint out. The only home of TRL."""

from inward.train.group_policy import GroupPolicySettings, check_group_policy, group_policy
from inward.train.preference import PreferenceSettings, Training, check_preference, preference
from inward.train.reward import IntrinsicReward, Reward, StepTraces, certainty, intrinsic_reward
from inward.train.self_confidence import Samples, SelfConfidenceSettings, check_self_confidence, self_confidence
from inward.train.trainer import LoraSettings, save

__all__ = [
    "GroupPolicySettings",
    "IntrinsicReward",
    "LoraSettings",
    "PreferenceSettings",
    "Reward",
    "Samples",
    "SelfConfidenceSettings",
    "StepTraces",
    "Training",
    "certainty",
    "check_group_policy",
    "check_preference",
    "check_self_confidence",
    "group_policy",
    "intrinsic_reward",
    "preference",
    "save",
    "self_confidence",
]

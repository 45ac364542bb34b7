"""Training: settings to TRL's config, records to TRL's columns, a checkpoint out. The only home of TRL."""

from inward.train.group_policy import GroupPolicySettings, IntrinsicReward, check_group_policy, group_policy
from inward.train.preference import PreferenceSettings, Training, check_preference, preference
from inward.train.trainer import LoraSettings

__all__ = [
    "GroupPolicySettings",
    "IntrinsicReward",
    "LoraSettings",
    "PreferenceSettings",
    "Training",
    "check_group_policy",
    "check_preference",
    "group_policy",
    "preference",
]

"""Training: settings to TRL's config, records to TRL's columns, a checkpoint out. The only home of TRL."""

from inward.train.group_policy import GroupPolicySettings, check_group_policy, group_policy
from inward.train.preference import PreferenceSettings, Training, check_preference, preference
from inward.train.reward import IntrinsicReward, Reward, StepTraces, certainty, intrinsic_reward
from inward.train.reward_model import (
    RewardModelSettings,
    check_reward_model,
    load_reward_model,
    model_reward,
    reward_model,
    sequence_rewards,
)
from inward.train.self_confidence import Samples, SelfConfidenceSettings, check_self_confidence, self_confidence
from inward.train.trainer import LoraSettings, save
from inward.train.tuning import Tuned, TuningSettings, check_tuning, tuning

__all__ = [
    "GroupPolicySettings",
    "IntrinsicReward",
    "LoraSettings",
    "PreferenceSettings",
    "Reward",
    "RewardModelSettings",
    "Samples",
    "SelfConfidenceSettings",
    "StepTraces",
    "Training",
    "Tuned",
    "TuningSettings",
    "certainty",
    "check_group_policy",
    "check_preference",
    "check_reward_model",
    "check_self_confidence",
    "check_tuning",
    "group_policy",
    "intrinsic_reward",
    "load_reward_model",
    "model_reward",
    "preference",
    "reward_model",
    "save",
    "self_confidence",
    "sequence_rewards",
    "tuning",
]

"""Training: settings to TRL's config, records to TRL's columns, a checkpoint out. The only home of TRL."""

from inward.settings import (
    GroupPolicySettings,
    LoraSettings,
    PreferenceSettings,
    RewardModelSettings,
    SelfConfidenceSettings,
    TuningSettings,
)
from inward.settings.rewards import INTRINSIC, names_of
from inward.train.certainty import answer_disparity, certainty, sequence_probability
from inward.train.group_policy import await_engine, check_group_policy, group_policy
from inward.train.intrinsic import combined, intrinsic_reward, named_reward
from inward.train.preference import Training, check_preference, preference
from inward.train.reward import AnswersOf, IntrinsicReward, Reward, StepTraces
from inward.train.reward_model import (
    check_reward_model,
    load_reward_model,
    model_reward,
    reward_model,
    sequence_rewards,
)
from inward.train.self_confidence import Samples, check_self_confidence, self_confidence
from inward.train.trainer import save
from inward.train.tuning import Tuned, check_tuning, tuning
from inward.train.votes import answer_of, co_rewarding, majority_vote, other_phrasing, soft_vote

__all__ = [
    "INTRINSIC",
    "AnswersOf",
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
    "answer_disparity",
    "answer_of",
    "await_engine",
    "certainty",
    "check_group_policy",
    "check_preference",
    "check_reward_model",
    "check_self_confidence",
    "check_tuning",
    "co_rewarding",
    "combined",
    "group_policy",
    "intrinsic_reward",
    "load_reward_model",
    "majority_vote",
    "model_reward",
    "named_reward",
    "names_of",
    "other_phrasing",
    "preference",
    "reward_model",
    "save",
    "self_confidence",
    "sequence_probability",
    "sequence_rewards",
    "soft_vote",
    "tuning",
]

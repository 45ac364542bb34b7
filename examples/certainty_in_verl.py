"""The policy's certainty as the reward of a verl training: two trainers that verl 0.9's registry takes.

verl hands an advantage estimator (`register_adv_est`) rewards and a mask, and a reward function text: neither sees a
log-probability. Its trainer has both, entropies too, after the forward pass of the actor that it makes anyway. So this
is a trainer that writes the reward there, in place of what the reward function gave; what comes after is verl's own.

    VERL_USE_EXTERNAL_MODULES=certainty_in_verl PYTHONPATH=examples python -m verl.trainer.main_ppo \
        trainer.v1.trainer_mode=inward_neg_entropy algorithm.adv_estimator=grpo \
        reward.custom_reward_function.path=pkg://certainty_in_verl ...

docs/verl.md has the rest of the command, and what was tested: the parts on a CPU, and no training.
"""

from typing import Any

import transfer_queue as tq  # pyright: ignore[reportMissingImports]
from tensordict import TensorDict  # pyright: ignore[reportMissingImports]
from verl.trainer.ppo.v1.trainer_base import register_trainer  # pyright: ignore[reportMissingImports]
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync  # pyright: ignore[reportMissingImports]
from verl.workers.utils.padding import response_to_nested  # pyright: ignore[reportMissingImports]

from inward.advantages import at_last_token, intrinsic
from inward.errors import SettingsError


def compute_score(**unused: Any) -> float:
    """What verl asks of every response before the actor has seen it; no label is read, and nothing is made of it."""
    return 0.0


class _Certainty(PPOTrainerSync):
    measure: str

    def _compute_old_log_prob(self, batch: Any, metrics: dict[str, float]) -> Any:
        correction = self.config.algorithm.get("rollout_correction", None)
        if correction and correction.get("bypass_mode", False):
            raise SettingsError("algorithm.rollout_correction.bypass_mode takes the engine's numbers: unset it")
        batch = super()._compute_old_log_prob(batch, metrics=metrics)
        data = tq.kv_batch_get(
            keys=batch.keys,
            partition_id=batch.partition_id,
            select_fields=["old_log_probs", "entropy", "response_mask"],
        )
        nested, padded = data["response_mask"], data.to_padded_tensor()
        mask = padded["response_mask"].bool()
        reward = intrinsic(self.measure, logprob=padded["old_log_probs"], entropy=padded["entropy"], mask=mask)
        scores = response_to_nested(at_last_token(reward, mask), nested)
        metrics["inward/reward"] = float(reward.nanmean())
        tq.kv_batch_put(
            keys=batch.keys,
            partition_id=batch.partition_id,
            fields=TensorDict({"rm_scores": scores}, batch_size=len(batch)),
        )
        return batch


@register_trainer("inward_neg_entropy")
class TokenEntropy(_Certainty):
    """RLIF with minus the mean token entropy as the reward."""

    measure = "neg_entropy"


@register_trainer("inward_mean_logprob")
class TrajectoryEntropy(_Certainty):
    """RLIF with the mean log-probability of the response's tokens as the reward."""

    measure = "mean_logprob"

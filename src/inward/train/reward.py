"""Rewards of the policy's own, for TRL's GRPOTrainer: in a script of yours, or in `group_policy`.

TRL hands a reward the prompts, the completions and their token ids, but neither a model nor prompt ids. So the reward
is a callable whose `callback` gives it the live policy and the tokenizer when the trainer is made, and takes signals
while that policy samples:

    from inward.train import intrinsic_reward
    reward = intrinsic_reward("self_certainty")
    trainer = GRPOTrainer(model, reward_funcs=[reward], callbacks=[reward.callback], args=..., train_dataset=...)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from inward.answers import AnswerSettings
from inward.batch import TokenSignals
from inward.errors import SettingsError
from inward.forward import sequence_signals
from inward.models import decode, evaluating, token_ends
from inward.train.processes import shards
from inward.train.recorder import Recorder


@dataclass(frozen=True, kw_only=True)
class StepTraces:
    """The N traces of one step that this process sampled, as a reward sees them."""

    step: int
    """Optimizer steps done before."""
    prompt_keys: Sequence[str]
    """[N] the column `prompt_id`; the prompt's token ids as text where there is none. Traces with the same key are a
    group, on whichever process they are."""
    prompt_ids: Sequence[Sequence[int]]
    completion_ids: Sequence[Sequence[int]]
    completions: Sequence[str]
    """[N] decoded without special tokens."""
    signals: TokenSignals
    """[N, C] under the live policy, in evaluation mode, without gradient."""
    tokenizer: Any = None
    """Of the policy; only `token_ends` needs it."""

    @cached_property
    def token_ends(self) -> list[tuple[int, ...]]:
        """[N][C] number of characters of the completion written once token t is; special tokens write none."""
        return token_ends(self.tokenizer, self.completion_ids, self.completions)


AnswersOf = Callable[[str], AnswerSettings]
"""How the answer to a prompt is read, by its key."""
Reward = Callable[[StepTraces], Sequence[float | None]]
"""One reward per trace, a constant to the optimizer; None for what cannot be scored, which then has no weight."""
Watch = Callable[[StepTraces, Sequence[float | None], nn.Module], None]
"""Told of every step: traces, rewards, live policy. With several processes each is told of its own traces."""


class IntrinsicReward:
    """A reward for GRPOTrainer that sees the live policy's signals.

    They are those of the passes in which the policy wrote the completions (`Recorder`); where something else wrote
    them, such as vLLM, of one more pass over them.

    Args:
        name: what TRL logs it as.
        reward: from the traces of a step to one number each.
        temperature: divides the logits before signals are taken; give the sampling temperature to score the
            distribution that was sampled from.
        watch: told of traces and rewards after each step's scoring.
    """

    def __init__(self, name: str, reward: Reward, *, temperature: float = 1.0, watch: Watch | None = None) -> None:
        self.__name__ = name.replace("+", "_and_")  # mlflow takes no plus sign in the name of a metric
        self.reward = reward
        self.temperature = temperature
        self.watch = watch
        self.policy: nn.Module | None = None
        self.recorder: Recorder | None = None
        self.tokenizer: Any = None
        self.template_settings: dict[str, Any] = {}

    def __call__(
        self,
        *,
        prompts: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        prompt_id: Sequence[str] | None = None,
        trainer_state: Any = None,
        **others: Any,
    ) -> list[float | None]:
        """One reward per completion; called by TRL, which also passes texts and every other column."""
        if self.policy is None:
            raise SettingsError(
                f"the reward {self.__name__} has no policy: add its `callback` to the trainer's callbacks"
            )
        prompt_ids = [self._tokens(prompt) for prompt in prompts]
        pairs = list(zip(prompt_ids, completion_ids, strict=True))
        with evaluating(self.policy):
            signals = self.recorder.taken(pairs) if self.recorder else None
            if signals is None:
                pad_id = self.tokenizer.pad_token_id
                signals = sequence_signals(self.policy, pairs, pad_id, temperature=self.temperature)
            traces = StepTraces(
                step=trainer_state.global_step if trainer_state else 0,
                prompt_keys=prompt_id or [" ".join(map(str, ids)) for ids in prompt_ids],
                prompt_ids=prompt_ids,
                completion_ids=completion_ids,
                completions=[decode(self.tokenizer, ids) for ids in completion_ids],
                signals=signals,
                tokenizer=self.tokenizer,
            )
            rewards = list(self.reward(traces))
            if self.watch:
                self.watch(traces, rewards, self.policy)
        return rewards

    @cached_property
    def callback(self) -> Any:
        """A callback that hands over policy and tokenizer; belongs into the trainer's `callbacks`."""
        from transformers import TrainerCallback

        reward = self

        class Bind(TrainerCallback):
            def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                reward.template_settings = getattr(args, "chat_template_kwargs", None) or {}
                reward.policy, reward.tokenizer = kwargs["model"], kwargs["processing_class"]

            def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                forget()
                reward.policy = kwargs["model"]
                # Sharded weights are gathered for a forward pass: all processes have to make it, or none.
                if not shards(args):
                    reward.recorder = Recorder(kwargs["model"], reward.temperature, training=state)

            def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                forget()

        def forget() -> None:
            if reward.recorder:
                reward.recorder.remove()
                reward.recorder = None

        return Bind()

    def _tokens(self, prompt: Any) -> list[int]:
        """Token ids as GRPOTrainer makes them."""
        if isinstance(prompt, str):
            return self.tokenizer(text=prompt)["input_ids"]
        return self.tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, tokenize=True, return_dict=True, **self.template_settings
        )["input_ids"]

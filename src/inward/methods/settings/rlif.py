"""Settings of RLIF, and its rewards."""

from __future__ import annotations

from dataclasses import dataclass

from inward.answers import AnswerSettings
from inward.diagnose import StopSettings
from inward.errors import SettingsError
from inward.settings import GroupPolicySettings, ModelSettings
from inward.settings.measures import CERTAINTIES
from inward.settings.rewards import INTRINSIC, names_of
from inward.types import LengthNorm

REWARDS = (*INTRINSIC, "random", "format", "gold")
"""The intrinsic rewards, and the controls: `random` a fair coin, `format` 1 where a final answer is announced, and
`gold` the supervised reward (RLVR), which needs gold answers for the prompts and is no intrinsic reward at all."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """RLIF's settings; the sources of the defaults stand in `GroupPolicySettings`."""

    model: ModelSettings = ModelSettings()
    reward: str = "self_certainty"
    """One of `REWARDS`, or several joined by `+`, each normalised within its group before they are added."""
    reward_weights: tuple[float, ...] | None = None
    """Of several rewards, in their order; None: all 1."""
    length_norm: LengthNorm = "mean"
    """Of the three certainties (RLIF: mean; the sums are those of EM-RL, arXiv 2505.15134)."""
    tempered: bool = True
    """Whether signals are taken at the sampling temperature, as verl does; else at temperature 1."""
    kl_traces: int = 32
    """Traces per step, in each process, from which the monitored KL divergence to the start model is estimated.
    Training all parameters, this keeps a second model in memory; 0 for neither."""
    stop: StopSettings | None = StopSettings()
    """None keeps the last checkpoint and probes none."""
    answer: AnswerSettings = AnswerSettings()
    """For the evaluation, the monitors, the stop, and the rewards that read answers, which no certainty does."""
    optim: GroupPolicySettings = GroupPolicySettings()

    def __post_init__(self) -> None:
        if self.kl_traces < 0:
            raise SettingsError(f"kl_traces must be at least 0, got {self.kl_traces}")
        names = names_of(self.reward, REWARDS, self.reward_weights)
        if self.length_norm != "mean" and not set(names) & set(CERTAINTIES):
            raise SettingsError(
                f"length_norm = {self.length_norm} does nothing to the reward {self.reward}: it is of "
                f"{', '.join(CERTAINTIES)}"
            )
        if self.rephrased and "gold" in names:
            raise SettingsError("reward co_rewarding takes no gold answers: leave out gold")
        if self.rephrased and self.optim.prompts_per_step % 2:
            raise SettingsError(
                "optim.prompts_per_step must be even for the reward co_rewarding, which counts both phrasings of a "
                f"question: got {self.optim.prompts_per_step}"
            )

    @property
    def supervised(self) -> bool:
        """Whether the reward needs gold answers."""
        return "gold" in names_of(self.reward, REWARDS)

    @property
    def rephrased(self) -> bool:
        """Whether the reward needs every question in two phrasings."""
        return "co_rewarding" in names_of(self.reward, REWARDS)

"""Settings of RLSF; defaults are the authors' recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from inward.answers import AnswerSettings
from inward.errors import SettingsError
from inward.rank import PairSettings
from inward.settings import (
    GroupPolicySettings,
    LoraSettings,
    ModelSettings,
    PreferenceSettings,
    RaySettings,
    RewardModelSettings,
    SamplingSettings,
    ServerSettings,
    TuningSettings,
)
from inward.settings.measures import OPTION_MEASURES, check_confidence
from inward.settings.serving import check_served

TrainedBaseline = Literal["sft", "majority_pairs", "random_pairs"]


DecodingBaseline = Literal["greedy", "cot_prompt", "cot_decoding", "cot_decoding_sum", "self_consistency"]
"""The start model's answers, decoded in this way; nothing is trained."""


BASELINES: Mapping[str, Mapping[str, str | None]] = {
    "sft": {"route": "sft"},
    "majority_pairs": {"pairs.source": "majority", "pairs.gamma": None},
    "random_pairs": {"pairs.source": "random"},
}
"""Settings that make a run a baseline; gamma is of confidences, and votes that reach the default one are few."""


@dataclass(frozen=True, kw_only=True)
class PolicySettings(GroupPolicySettings):
    """RLOO or GRPO on a reward model. Defaults: those of PPO in RLSF's code, as far as they have a counterpart."""

    estimator: Literal["grpo", "rloo"] = "rloo"
    """RLOO by default, since the KL term is part of the reward there, as in PPO."""
    steps: int = 700
    """RLSF: three passes over the questions; of GSM8K's 7,473, 32 at a time, that is 700. Set 3 * prompts / 32."""
    prompts_per_step: int = 32
    """RLSF: 8 traces on a device, 4 times over, each of another question."""
    group_size: int = 4
    """PPO has one trace per question and a value model; the other traces stand in for that."""
    temperature: float = 0.7
    """RLSF."""
    max_completion_tokens: int = 256
    """RLSF."""
    learning_rate: float = 3e-6
    """RLSF."""
    lr_scheduler: str = "linear"
    """RLSF."""
    warmup_steps: int = 0
    """RLSF."""
    kl: float = 0.05
    """RLSF."""
    save_every: int = 50
    """Steps between the trainer's checkpoints, to resume from; the last one is kept."""
    lora: LoraSettings | None = LoraSettings()
    """RLSF. None trains every parameter."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """RLSF's settings; defaults are the authors' recipe."""

    model: ModelSettings = ModelSettings()
    engine: Literal["local", "server", "ray"] = "local"
    """What writes the traces: the model on this machine, completions endpoints that serve it, or actors of Ray."""
    server: ServerSettings = ServerSettings()
    """Of the engine `server`."""
    ray: RaySettings = RaySettings()
    """Of the engine `ray`."""
    sampling: SamplingSettings = SamplingSettings()
    answer: AnswerSettings = AnswerSettings()
    confidence: str = "answer_disparity"
    """The measure that ranks traces; a key of `inward.confidence.CONFIDENCE`, or of `OPTION_CONFIDENCE` where
    answers are choices."""
    pairs: PairSettings = PairSettings()
    route: Literal["dpo", "reward_model", "sft"] = "dpo"
    """`sft`, a baseline: fine-tuning on the surest traces of each prompt."""
    optim: PreferenceSettings = PreferenceSettings()
    """Of the route `dpo`."""
    reward: RewardModelSettings = RewardModelSettings()
    """Of the route `reward_model`, as the next."""
    policy: PolicySettings = PolicySettings()
    tuning: TuningSettings = TuningSettings()
    """Of the route `sft`."""
    rounds: int = 1
    """How often to sample, score, rank and train, each time from the checkpoint of the last (RLSF: once)."""
    reference: Literal["previous", "start"] = "previous"
    """Frozen reference of DPO in later rounds: the checkpoint that the round starts from, or the run's start model."""
    baseline: TrainedBaseline | DecodingBaseline | None = None
    """Marks the run as a baseline; `--baseline NAME` also sets what makes it one."""

    def __post_init__(self) -> None:
        check_confidence(self.confidence, self.answer.kind)
        if self.rounds < 1:
            raise SettingsError(f"rounds must be at least 1, got {self.rounds}")
        if self.reference == "start" and self.route != "dpo":
            raise SettingsError(f"reference=start goes with route=dpo; route={self.route} knows only previous")
        if self.decoding and self.rounds > 1:
            raise SettingsError(f"rounds does nothing with baseline={self.baseline}, which trains nothing")
        self._check_engine()
        made = {"route": self.route, "pairs.source": self.pairs.source}
        for key, value in BASELINES.get(self.baseline or "", {}).items():
            if made.get(key, value) != value:
                raise SettingsError(f"baseline={self.baseline} needs {key}={value}, got {made[key]}; see --baseline")

    def _check_engine(self) -> None:
        if self.engine != "server" and self.server.endpoints:
            raise SettingsError(
                f"server.endpoints (--endpoint) does nothing with engine={self.engine}; set engine=server"
            )
        if self.engine != "ray" and self.ray != RaySettings():
            raise SettingsError(f"ray.address and ray.actors do nothing with engine={self.engine}; set engine=ray")
        if self.engine != "local" and self.decoding:
            raise SettingsError(
                f"engine={self.engine} does nothing with baseline={self.baseline}: judging is done here"
            )
        if self.engine != "server":
            return
        check_served(self.server, self.confidence)
        if self.rounds > 1:
            raise SettingsError(
                "rounds must be 1 with engine=server: the endpoints serve the start model, and a second round samples "
                "from the checkpoint of the first"
            )

    @property
    def decoding(self) -> DecodingBaseline | None:
        """The decoding of a baseline that trains nothing."""
        return cast("DecodingBaseline", self.baseline) if self.baseline in get_args(DecodingBaseline) else None

    @property
    def ranked(self) -> str:
        """The stage that ranking makes: `pairs`, or `surest` for fine-tuning."""
        return "surest" if self.route == "sft" else "pairs"

    @property
    def scores_with_model(self) -> bool:
        """Whether scoring needs the model: the confidence compares options, or traces come without their signals."""
        return self.confidence in OPTION_MEASURES or (self.engine == "server" and self.server.rescore)

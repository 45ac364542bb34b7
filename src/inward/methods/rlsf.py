"""RLSF: reinforcement learning from self-feedback.

Paper: van Niekerk et al., arXiv 2507.21931; hyper-parameters from the authors' code, since no table of the paper states
them. A frozen model writes several chain-of-thought traces per question; the confidence of each final answer span
ranks them; the ranking becomes preference pairs; the pairs train the policy, along one of two routes:

    dpo            DPO on the pairs
    reward_model   a Bradley-Terry reward model with margins, then reinforcement learning on its rewards

Confidence: c = mean over the answer span of p(x_t) - max_{v != x_t} p(v); 0 where there is no span.
Pairs: every (w, l) of a question with c_w > c_l and c_w >= gamma; margin exp(c_w - c_l) is kept with the pair.
Assumption: among a question's traces, the surer answer is more often the right one. Where that fails (a confident
mode that is wrong), RLSF entrenches the error; where all confidences are near 1, no pair carries information.

Departures from the authors' code:
1. The answer is read off the trace where it can be, and asked for only where it cannot (`answer.elicit`).
2. The span is the last occurrence of that answer, matched on characters, not the earliest longest token block, which
   can hit an intermediate number and fails where tokenisations differ. Only where a free-text answer does not stand in
   the trace as a whole is it the longest run of words they share, as in the code; such spans are counted and warned of.
3. The training text is the trace's own tokens: no brackets around the answer, no extraction sentence, no clean-up.
4. Nothing is cut at 256 tokens; `optim.max_length` and `reward.max_length` leave out longer pairs and count them.
5. Pairs of two identical completions are left out.
6. Prompts carry no label and come from the data the user gives; the code's default is the test split.
7. The paper trains the policy with PPO, of which TRL 1.16 has none. RLOO stands in, or GRPO (`policy.estimator`): no
   value model, the other traces of a question are the baseline; one update per batch of traces, so that the clip never
   acts, where the code makes three passes; rewards are not whitened.

Ours besides: `rounds`, the further losses and the stop of `PreferenceSettings`, and the baselines.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from inward import rank
from inward.answers import AnswerSettings
from inward.confidence import OPTION_CONFIDENCE
from inward.errors import SettingsError
from inward.methods import routes
from inward.methods.rounds import Round
from inward.methods.start import Start
from inward.models import ModelSettings
from inward.rank import PairSettings
from inward.runs import Records, RunFolder
from inward.sample import SamplingSettings, ServerSettings, check_served, read_key, sample, serving
from inward.score import check_confidence, score
from inward.train import (
    GroupPolicySettings,
    LoraSettings,
    PreferenceSettings,
    RewardModelSettings,
    TuningSettings,
    check_preference,
    check_reward_model,
    check_tuning,
)
from inward.types import PreferencePair, Prompt, ScoredGroup, Trace, TraceGroup

SHARD_PROMPTS = 32
"""Prompts per shard: what a killed run may have to sample again."""

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
    engine: Literal["local", "server"] = "local"
    """What writes the traces: the model on this machine, or completions endpoints that serve it."""
    server: ServerSettings = ServerSettings()
    """Of the engine `server`."""
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
        if self.engine == "local":
            if self.server.endpoints:
                raise SettingsError("server.endpoints (--endpoint) does nothing with engine=local; set engine=server")
            return
        check_served(self.server, self.confidence)
        if self.rounds > 1:
            raise SettingsError(
                "rounds must be 1 with engine=server: the endpoints serve the start model, and a second round samples "
                "from the checkpoint of the first"
            )
        if self.decoding:
            raise SettingsError(f"engine=server does nothing with baseline={self.baseline}: judging is done here")

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
        return self.confidence in OPTION_CONFIDENCE or (self.engine == "server" and self.server.rescore)


Pairs = Sequence[PreferencePair]
Ranked = Pairs | Sequence[Trace]
"""Pairs, or the surest traces for the route `sft`."""


def run(prompts: Sequence[Prompt], start: Start, folder: RunFolder, settings: Settings, *, seed: int) -> Path:
    """Sample, score, rank and train, as many rounds as asked for; returns the folder of the last checkpoint."""
    check(start, settings)
    now = start
    for number in range(1, settings.rounds + 1):
        here = Round(folder=folder, number=number, seed=seed)
        traces = sample_stage(prompts, now, here, settings)
        scored = score_stage(traces, now, here, settings)
        ranked = rank_stage(scored, here, settings)
        checkpoint = train_stage(ranked, prompts, now, here, settings, first=start)
        now.release()
        now = Start(here.at("checkpoint"), checkpoint, settings.model)
    return now.path


def check(start: Start, settings: Settings) -> None:
    """Refuse, before any work, settings that the training would refuse."""
    match settings.route:
        case "dpo":
            check_preference(settings.optim, start.policy.model)
        case "reward_model":
            check_reward_model(settings.reward, start.policy.model)
            routes.check_policy(settings.policy, start)
        case "sft":
            check_tuning(settings.tuning, start.policy.model)


def check_key(settings: Settings) -> None:
    """Refuse, before any work, to ask endpoints whose key is not there."""
    if settings.engine == "server":
        read_key(settings.server)


def sample_stage(prompts: Sequence[Prompt], start: Start, here: Round, settings: Settings) -> Records[TraceGroup]:
    """Traces of every prompt, with the model's own answer where it had to be asked for."""
    if settings.engine == "server":
        return _served(prompts, start, here, settings)
    drawn = settings.sampling

    def make(chunk: Sequence[Prompt]) -> Iterator[TraceGroup]:
        return sample(
            chunk,
            start.policy,
            drawn.params(start.policy, here.drawn),
            batch_rows=drawn.batch_rows,
            memory_gib=drawn.memory_gib,
            answer=settings.answer,
        )

    return _in_shards(prompts, here, make)


def _served(prompts: Sequence[Prompt], start: Start, here: Round, settings: Settings) -> Records[TraceGroup]:
    if not here.folder.crew.leads:  # one process asks the endpoints
        return _in_shards(prompts, here, lambda chunk: (), shared=False)
    params = settings.sampling.params(start.policy, here.drawn)
    with serving(start.policy, settings.server, here.path("replies.jsonl")) as served:
        return _in_shards(prompts, here, lambda chunk: served(chunk, params, settings.answer), shared=False)


def _in_shards(
    prompts: Sequence[Prompt],
    here: Round,
    make: Callable[[Sequence[Prompt]], Iterable[TraceGroup]],
    *,
    shared: bool = True,
) -> Records[TraceGroup]:
    return here.folder.map(here.at("traces"), prompts, make, TraceGroup, shard_size=SHARD_PROMPTS, shared=shared)


def score_stage(
    traces: Sequence[TraceGroup], start: Start | None, here: Round, settings: Settings
) -> Records[ScoredGroup]:
    """Every measure of every trace that is known of it, by a model where `scores_with_model` and it is given."""

    def make(chunk: Sequence[TraceGroup]) -> Iterator[ScoredGroup]:
        policy = start.policy if start and settings.scores_with_model else None
        return score(chunk, settings.answer, confidence=settings.confidence, policy=policy)

    return here.folder.map(here.at("scored"), traces, make, ScoredGroup, shard_size=SHARD_PROMPTS)


def rank_stage(
    scored: Records[ScoredGroup], here: Round, settings: Settings
) -> Records[PreferencePair] | Records[Trace]:
    """Preference pairs, or the surest traces for the route `sft`."""
    _warn_of_partial_spans(scored)
    ranking, seed, kind = settings.pairs, here.drawn, settings.answer.kind
    if settings.route != "sft":
        return here.folder.once(
            here.at("pairs"), lambda: rank.each_pair(scored, ranking, seed=seed, kind=kind), PreferencePair
        )
    num = settings.tuning.num_best
    return here.folder.once(
        here.at("surest"), lambda: rank.each_surest(scored, ranking, num=num, seed=seed, kind=kind), Trace
    )


def _warn_of_partial_spans(scored: Records[ScoredGroup]) -> None:
    partial = traces = 0
    for table in scored.columns(("traces.list.element.answer_partial",)):
        for groups in table["traces"].chunks:
            flags = groups.values.field("answer_partial")
            partial, traces = partial + flags.true_count, traces + len(flags)
    if partial:
        warnings.warn(
            f"{partial} of {traces} traces hold only part of the answer that the model gave when asked; their "
            "confidence is that of the shared words. Set answer.kind to what the answers are, or answer.partial=false",
            stacklevel=2,
        )


def train_stage(
    ranked: Ranked, prompts: Sequence[Prompt], start: Start, here: Round, settings: Settings, *, first: Start
) -> Path:
    """Train along the route; a training that was killed resumes from its trainer's newest checkpoint.

    Args:
        ranked: what ranking made.
        prompts: what the policy of the route `reward_model` is asked.
        start: where this round starts from.
        here: the round.
        settings: see `Settings`.
        first: where the run started from.
    """
    match settings.route:
        case "dpo":
            reference = first.path if settings.reference == "start" else None
            return routes.by_preference(cast("Pairs", ranked), start, here, settings.optim, reference)
        case "sft":
            return routes.by_tuning(cast("Sequence[Trace]", ranked), start, here, settings.tuning)
        case "reward_model":
            return routes.by_reward_model(
                cast("Pairs", ranked),
                prompts,
                start,
                here,
                reward=settings.reward,
                policy=settings.policy,
                answer=settings.answer,
            )

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

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

from inward.errors import SettingsError
from inward.methods import routes
from inward.methods.ranking import SHARD_PROMPTS, rank_stage, score_stage
from inward.methods.rounds import Round
from inward.methods.settings.rlsf import BASELINES, DecodingBaseline, PolicySettings, Settings, TrainedBaseline
from inward.methods.start import Start
from inward.models import device_type
from inward.runs import Records, RunFolder
from inward.sample import Work, check_ray, read_key, sample, sample_shards, serving
from inward.train import check_preference, check_reward_model, check_tuning
from inward.train.processes import num_processes
from inward.types import PreferencePair, Prompt, Trace, TraceGroup

__all__ = [
    "BASELINES",
    "DecodingBaseline",
    "PolicySettings",
    "Settings",
    "TrainedBaseline",
    "check",
    "check_engine",
    "rank_stage",
    "run",
    "sample_stage",
    "score_stage",
    "train_stage",
]


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
            check_preference(settings.optim, start.policy.model, device=device_type(settings.model))
        case "reward_model":
            check_reward_model(settings.reward, start.policy.model, device=device_type(settings.model))
            routes.check_policy(settings.policy, start)
        case "sft":
            check_tuning(settings.tuning, start.policy.model, device=device_type(settings.model))


def check_engine(settings: Settings) -> None:
    """Refuse, before any work, endpoints whose key is not there, and Ray where it cannot work."""
    if settings.engine == "server":
        read_key(settings.server)
    elif settings.engine == "ray":
        check_ray(settings.model)
        if num_processes() > 1:
            raise SettingsError(
                f"engine=ray in {num_processes()} processes: they divide the prompts among themselves with "
                "engine=local, and the same command takes up a run that engine=ray began"
            )


def sample_stage(prompts: Sequence[Prompt], start: Start, here: Round, settings: Settings) -> Records[TraceGroup]:
    """Traces of every prompt, with the model's own answer where it had to be asked for."""
    if settings.engine == "server":
        return _served(prompts, start, here, settings)
    if settings.engine == "ray":
        return _by_ray(prompts, start, here, settings)
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


def _by_ray(prompts: Sequence[Prompt], start: Start, here: Round, settings: Settings) -> Records[TraceGroup]:
    work = Work(
        path=start.path.resolve(),
        name=start.name,
        model=settings.model,
        params=settings.sampling.params(start.policy, here.drawn),
        batch_rows=settings.sampling.batch_rows,
        memory_gib=settings.sampling.memory_gib,
        answer=settings.answer,
    )
    start.release()
    return here.folder.gather(
        here.at("traces"),
        prompts,
        lambda shards: sample_shards(shards, work, settings.ray),
        TraceGroup,
        shard_size=SHARD_PROMPTS,
    )


def _in_shards(
    prompts: Sequence[Prompt],
    here: Round,
    make: Callable[[Sequence[Prompt]], Iterable[TraceGroup]],
    *,
    shared: bool = True,
) -> Records[TraceGroup]:
    return here.folder.map(here.at("traces"), prompts, make, TraceGroup, shard_size=SHARD_PROMPTS, shared=shared)


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

"""What a run does, counted from its settings alone: traces, pairs, optimizer steps, judged answers, checkpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch

from inward.config import RunConfig
from inward.diagnose import StopSettings
from inward.evaluate import Decoding, source_of
from inward.methods import rlif, rlsc, rlsf
from inward.train import GroupPolicySettings
from inward.train.processes import num_processes
from inward.train.vllm import mode as vllm_mode
from inward.types import Source


def work(cfg: RunConfig, *, num_prompts: int, num_problems: int, new: int, judged_new: int) -> Iterator[str]:
    """A line for each thing that a run makes.

    Args:
        cfg: the settings.
        num_prompts: prompts to train on.
        num_problems: problems to judge on; 0: nothing is judged.
        new: most new tokens of a trace to train on.
        judged_new: most new tokens of a judged trace.
    """
    match cfg.settings:
        case rlsf.Settings():
            yield from _rlsf(cfg.settings, num_prompts, new)
        case rlif.Settings(optim=optim) | rlsc.Settings(optim=optim):
            once = isinstance(cfg.settings, rlsc.Settings) and not cfg.settings.optim.regenerate
            yield from _online(optim.prompts_per_step, optim.group_size, optim.steps, num_prompts, once=once)
            if isinstance(cfg.settings, rlif.Settings):
                yield from _engine(cfg.settings.optim)
            yield from _probes(cfg.settings.stop, num_prompts, num_kept(cfg))
            traces = optim.prompts_per_step * optim.group_size * (1 if once else optim.steps)
            yield f"tokens of the traces: {traces:,} * {new:,} = {traces * new:,} at most"
    if num_problems:
        yield _judged(cfg, num_problems, judged_new)


def num_kept(cfg: RunConfig) -> int:
    """Checkpoints that a run keeps, a reward model not counted."""
    match cfg.settings:
        case rlsf.Settings():
            return 0 if cfg.settings.decoding else cfg.settings.rounds
        case rlif.Settings(optim=optim) | rlsc.Settings(optim=optim):
            return 1 + -(-optim.steps // optim.save_every)


def _rlsf(settings: rlsf.Settings, num_prompts: int, new: int) -> Iterator[str]:
    if settings.decoding:
        yield f"nothing is trained: the start model answers by {settings.decoding}"
        return
    if settings.rounds > 1:
        yield f"rounds: {settings.rounds}, each as follows"
    each = _per_prompt(settings)
    traces = num_prompts * each
    yield f"traces: {num_prompts:,} prompts * {each} = {traces:,}"
    yield f"tokens of the traces: {traces:,} * {new:,} = {traces * new:,} at most"
    if settings.engine == "server":
        yield _requests(settings, num_prompts, traces)
    elif settings.engine == "ray":
        yield _actors(settings, num_prompts)
    if settings.route == "sft":
        tuning = settings.tuning
        most = num_prompts * min(each, tuning.num_best)
        yield f"surest traces: {most:,} at most"
        batch = tuning.batch_size * tuning.gradient_accumulation_steps * num_processes()
        yield _epochs("optimizer steps", tuning.num_epochs, f"{most:,} traces", -(-most // batch), batch)
        return
    most = _most_pairs(settings, num_prompts)
    yield f"pairs: {most:,} at most"
    optim = settings.optim if settings.route == "dpo" else settings.reward
    what = "optimizer steps" if settings.route == "dpo" else "optimizer steps of the reward model"
    batch = optim.batch_size * optim.gradient_accumulation_steps * num_processes()
    yield _epochs(what, optim.num_epochs, f"{most:,} pairs", -(-most // batch), batch)
    if settings.route == "reward_model":
        policy = settings.policy
        step = policy.prompts_per_step * policy.group_size
        yield from _online(policy.prompts_per_step, policy.group_size, policy.steps, num_prompts, of=" of the policy")
        yield from _engine(policy)
        yield (
            f"tokens of the policy's traces: {step * policy.steps:,} * {policy.max_completion_tokens:,} = "
            f"{step * policy.steps * policy.max_completion_tokens:,} at most"
        )
    elif settings.optim.stop_margin is not None:
        yield "stop_margin may end the training earlier"


def _requests(settings: rlsf.Settings, num_prompts: int, traces: int) -> str:
    firsts = num_prompts if settings.sampling.strategy in ("branch", "both") else 0
    asked = {"never": "", "missing": ", and one for each trace without a readable answer", "always": f" + {traces:,}"}
    places = len(settings.server.endpoints)
    return (
        f"requests to {places} endpoint{'s' if places > 1 else ''}, {settings.server.concurrency} at once to each: "
        f"{traces:,}{f' + {firsts:,} for first tokens' if firsts else ''}{asked[settings.answer.elicit]}"
    )


def _actors(settings: rlsf.Settings, num_prompts: int) -> str:
    shards = -(-num_prompts // rlsf.SHARD_PROMPTS)
    address = settings.ray.address or os.environ.get("RAY_ADDRESS")
    threads = torch.get_num_threads()
    devices = f"one for each free GPU, or without GPUs for {threads} free core{'s' if threads > 1 else ''}"
    return (
        f"Ray, {f'the cluster at {address}' if address else 'started here'}: {shards:,} shards of "
        f"{rlsf.SHARD_PROMPTS} prompts, each whole on one actor; actors: {settings.ray.actors or devices}"
    )


def _per_prompt(settings: rlsf.Settings) -> int:
    sampling = settings.sampling
    samples = sampling.group_size if sampling.strategy in ("sample", "both") else 0
    branches = sampling.num_branches if sampling.strategy in ("branch", "both") else 0
    return samples + branches or 1


def _most_pairs(settings: rlsf.Settings, num_prompts: int) -> int:
    each, ranking = _per_prompt(settings), settings.pairs
    a_prompt = min(ranking.num_best, each // 2) if ranking.rule == "best_worst" else each * (each - 1) // 2
    most = num_prompts * min(a_prompt, ranking.max_pairs_per_prompt or a_prompt)
    return min(most, ranking.max_pairs or most)


def _epochs(what: str, epochs: int, most: str, steps: int, batch: int) -> str:
    return f"{what}: {epochs} epochs * {most} / {batch} = {epochs * steps:,} at most"


def _online(
    prompts_per_step: int, group_size: int, steps: int, num_prompts: int, *, once: bool = False, of: str = ""
) -> Iterator[str]:
    step = prompts_per_step * group_size
    traces = step if once else step * steps
    yield f"traces{of}: {prompts_per_step} prompts * {group_size} = {step:,} a step, {traces:,} in all"
    yield f"optimizer steps{of}: {steps:,}"
    yield f"passes over the prompts: {prompts_per_step * steps / num_prompts:.2f}"


def _engine(optim: GroupPolicySettings) -> Iterator[str]:
    """What writes the traces of a step where the policy does not; whether it is there is not looked at."""
    given = optim.trl or {}
    engine = vllm_mode(given)
    if engine == "server":
        host, port = given.get("vllm_server_host", "0.0.0.0"), given.get("vllm_server_port", 8000)  # TRL's own defaults
        yield f"written by vLLM at {given.get('vllm_server_base_url', f'http://{host}:{port}')}, scored here"
    elif engine == "colocate":
        size = int(given.get("vllm_tensor_parallel_size", 1))
        yield f"written by vLLM beside the training, {num_processes() // size} engines of {size} devices, scored here"


def _probes(stop: StopSettings | None, num_prompts: int, checkpoints: int) -> Iterator[str]:
    if stop is None:
        return
    probed, each = min(stop.prompts, num_prompts), stop.start_samples + checkpoints * (1 + stop.samples)
    yield (
        f"probes of the stop rule: {probed} prompts * ({stop.start_samples} votes + {checkpoints} checkpoints * "
        f"{1 + stop.samples}) = {probed * each:,} traces"
    )
    if stop.action == "stop":
        yield "the stop rule may end the training earlier"


def _judged(cfg: RunConfig, num_problems: int, judged_new: int) -> str:
    baseline = cfg.settings.decoding if isinstance(cfg.settings, rlsf.Settings) else None
    if baseline:
        each = _answers(cfg, cfg.evaluation.decoding) + _answers(cfg, baseline)
        return (
            f"judged: {num_problems:,} problems * {each} traces, by {cfg.evaluation.decoding} and by {baseline} = "
            f"{num_problems * each:,} traces of at most {judged_new:,} tokens"
        )
    # The start model, and every checkpoint: a method that keeps several may keep the start model, too.
    rounds = isinstance(cfg.settings, rlsf.Settings)
    times, each = max(2, num_kept(cfg) + rounds), _answers(cfg, cfg.evaluation.decoding)
    return (
        f"judged: {num_problems:,} problems * {each} traces * {times} checkpoints = "
        f"{num_problems * each * times:,} traces of at most {judged_new:,} tokens"
    )


def _answers(cfg: RunConfig, decoding: Decoding) -> int:
    """Traces of a problem: those that the decoding chooses from, and the samples."""
    own = {Source.GREEDY: 1, Source.BRANCH: cfg.evaluation.num_branches, Source.SAMPLE: 0}[source_of(decoding)]
    return own + cfg.evaluation.num_samples

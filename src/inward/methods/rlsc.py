"""RLSC: reinforcement learning via self-confidence.

Paper: Li et al., "Confidence Is All You Need: Few-Shot RL Fine-Tuning of Language Models", arXiv 2506.06395. Raise the
probability that two samples coincide, F(p) = sum_y p(y|x)^2: per step, sample completions of a few questions and
minimise -(sg[p(y|x)] + alpha) log p(y|x) over them, p(y|x) = exp(sum_t log p_t(y_t)) at the scoring temperature.

Assumption: what the model is most sure of is right more often than what it samples.
When it fails: a completion of some hundred tokens has a probability that is numerically 0. The weight is then alpha
alone, the same for every sample, and training is fine-tuning on own samples: `alpha_share` in the log says how far.
With equal sampling and scoring temperatures that moves the model by noise only; scored at 1 after sampling below 1 it
pulls to the sharper distribution. Either way probability, entropy and pass@k shrink together.

Departures and gaps:
1. No code of the paper is public; the loop is its algorithm 1. It states no reduction (mean here), questions per step
   (8), clipping (1.0) or warm-up (none).
2. The paper's equation 4 lacks a factor 2, which only scales the learning rate; so does ours.
3. The sum of its equations 5 to 7 runs over samples: over the whole space its gradient would be 0.
4. Which checkpoint stays is decided by `diagnose.rule`, which is ours. With 10 to 20 steps the paper keeps the last.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from accelerate.utils import gather_object
from torch import nn

from inward.answers import AnswerSettings
from inward.diagnose import Sight, monitors
from inward.diagnose.findings import MOSTLY_ALPHA
from inward.diagnose.monitors import transitional_words
from inward.methods.keeping import Keeping, keeping_of
from inward.methods.settings.rlsc import Settings
from inward.methods.start import Start
from inward.methods.watching import answer_of, sights_of
from inward.models import Policy, device_type
from inward.runs import RunFolder
from inward.sample import SamplingSettings, sample
from inward.train import Samples, SelfConfidenceSettings, check_self_confidence, self_confidence
from inward.types import Prompt, TraceGroup


def check(start: Start, settings: Settings) -> None:
    """Refuse, before any work, settings that the training would refuse."""
    check_self_confidence(settings.optim, start.policy.model, device=device_type(settings.model))
    if not start.policy.eos_ids:
        warnings.warn(
            f"{start.name} has no end-of-sequence token: every sample has the length limit, and its probability is "
            "that of the whole of it",
            stacklevel=2,
        )


def run(prompts: Sequence[Prompt], start: Start, folder: RunFolder, settings: Settings, *, seed: int) -> Path:
    """Train on the policy's own samples; returns the folder of the checkpoint that was kept.

    Those of every `optim.save_every` steps stay under `checkpoints/`, named by their step; step 0 is the start model.
    """
    check(start, settings)
    sampling = SamplingSettings(
        strategy="sample",
        group_size=settings.optim.group_size,
        temperature=settings.optim.temperature,
        max_completion_tokens=settings.optim.max_completion_tokens,
    )
    keeping = keeping_of(prompts, start, folder, settings.stop, settings.answer, sampling, seed)
    return keeping.train(lambda: _train(prompts, start, folder, settings, keeping, sampling, seed))


def _train(
    prompts: Sequence[Prompt],
    start: Start,
    folder: RunFolder,
    settings: Settings,
    keeping: Keeping,
    sampling: SamplingSettings,
    seed: int,
) -> int:
    start.release()

    def draw(model: nn.Module, asked: Sequence[Prompt], step: int) -> Samples:
        policy = keeping.policy(model)
        # A prompt met again in another step is drawn from other random streams.
        groups = list(sample(asked, policy, sampling.params(policy, seed * 1_000_003 + step)))
        _monitor(groups, policy, folder, settings.answer, step)
        return _samples(groups, settings.answer)

    def log(metrics: dict[str, float]) -> None:
        folder.log("train", **metrics)
        if metrics["step"] == 1:
            _warn_of_alpha(metrics, settings.optim)

    return self_confidence(
        prompts,
        draw,
        start=start.path,
        work=keeping.work,
        settings=settings.optim,
        model=settings.model,
        seed=seed,
        at_checkpoint=keeping.at_checkpoint,
        progress=lambda step, steps: folder.progress("train", step, steps),
        log=log,
    )


def _samples(groups: Sequence[TraceGroup], answer: AnswerSettings) -> Samples:
    shares: list[float] = []
    for group in groups:
        own = answer.for_prompt(group.prompt)
        given = [answer_of(trace.completion, own) for trace in group.traces]
        votes = Counter(given)
        shares += [votes[one] / len(given) if one is not None else 0.0 for one in given]
    traces = [trace for group in groups for trace in group.traces]
    return Samples(
        prompt_ids=[trace.prompt_ids for trace in traces],
        completion_ids=[trace.completion_ids for trace in traces],
        answer_share=shares,
    )


def _monitor(
    groups: Sequence[TraceGroup], policy: Policy, folder: RunFolder, answer: AnswerSettings, step: int
) -> None:
    """Log the monitors of a step's samples, all processes', from the signals of their sampling at temperature 1."""
    seen = cast("list[Sight]", gather_object(sights_of(groups, answer)))
    folder.log("monitor", step=step, **monitors(seen), transitional_words=transitional_words(seen))


def _warn_of_alpha(metrics: dict[str, float], optim: SelfConfidenceSettings) -> None:
    if optim.loss == "rlsc" and optim.weight == "sequence" and metrics["alpha_share"] > MOSTLY_ALPHA:
        warnings.warn(
            f"{metrics['alpha_share']:.1%} of the weight comes from alpha: samples of {metrics['train_length']:.0f} "
            f"tokens have a mean probability of {metrics['weight_mean']:.1e}, so this fine-tunes on own samples and is "
            "no RLSC. Take shorter completions, optim.weight=length_normalised or answer, or a smaller optim.alpha",
            stacklevel=2,
        )

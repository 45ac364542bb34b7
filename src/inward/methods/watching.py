"""What a method looks at while it trains online: monitors of every step. No labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

from accelerate.utils import gather_object
from torch import nn

from inward.answers import AnswerSettings
from inward.batch import TokenSignals, collate
from inward.confidence import mean_logprob, neg_entropy, self_certainty
from inward.diagnose import Sight, monitors
from inward.diagnose.monitors import count_words, repetition, transitional_words, transitions
from inward.forward import sequence_signals
from inward.train import StepTraces, answer_of
from inward.types import FinishReason, Prompt, TraceGroup

Values = Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """Sums up the traces of a step."""

    answers: Mapping[str, AnswerSettings]
    """How answers are read off the traces, by the prompt's id; the model is not asked for them."""
    eos_ids: Sequence[int]
    start: nn.Module | None
    """The frozen start model, for the KL divergence; None where the policy has an adapter that can be switched off."""
    kl_traces: int
    """How many traces of a step the divergence is estimated from, in each process; 0: it is not measured."""
    temperature: float
    """At which the signals of the step were taken."""

    def __call__(self, traces: StepTraces, rewards: Values, policy: nn.Module) -> dict[str, float | dict[str, int]]:
        """Monitors over the traces of all processes, each of which has to call."""
        truncated = [bool(ids) and ids[-1] not in self.eos_ids for ids in traces.completion_ids]
        local = sights(
            traces.prompt_keys,
            traces.completion_ids,
            traces.completions,
            traces.signals,
            truncated,
            [answer_of(*one) for one in zip(traces.completions, self._own(traces), strict=True)],
            rewards=rewards,
            kl=self._kl(traces, policy),
        )
        everywhere = cast("list[Sight]", gather_object(local))
        return {**monitors(everywhere), "transitional_words": transitional_words(everywhere)}

    def _own(self, traces: StepTraces) -> list[AnswerSettings]:
        return [self.answers[key] for key in traces.prompt_keys]

    def _kl(self, traces: StepTraces, policy: nn.Module) -> Values:
        """KL(policy || start) of the first traces, nats per token: mean of exp(d) - d - 1, d = log p_start - log p."""
        kl: list[float | None] = [None] * len(traces.completion_ids)
        pairs = list(zip(traces.prompt_ids, traces.completion_ids, strict=True))[: self.kl_traces]
        if not pairs:
            return kl
        with nullcontext() if self.start else cast(Any, policy).disable_adapter():
            reference = sequence_signals(self.start or policy, pairs, 0, temperature=self.temperature)
        gap = reference.logprob - traces.signals.logprob[: len(pairs), : reference.logprob.shape[1]]
        estimate = (gap.exp() - gap - 1).masked_fill(~reference.mask, 0.0).sum(1) / reference.mask.sum(1).clamp(min=1)
        kl[: len(pairs)] = estimate.tolist()
        return kl


def answers_by_prompt(prompts: Sequence[Prompt], settings: AnswerSettings) -> dict[str, AnswerSettings]:
    """How the answer to each prompt is read, by its id: a multiple-choice question has options of its own."""
    return {prompt.id: settings.for_prompt(prompt) for prompt in prompts}


def sights(
    groups: Sequence[str],
    ids: Sequence[Sequence[int]],
    texts: Sequence[str],
    signals: TokenSignals,
    truncated: Sequence[bool],
    answers: Sequence[str | None],
    *,
    rewards: Values | None = None,
    kl: Values | None = None,
) -> list[Sight]:
    """What monitors keep of N traces; see `Sight`."""
    whole = signals.mask
    nothing: Values = [None] * len(ids)
    measures = [m(signals, whole).nan_to_num().tolist() for m in (neg_entropy, self_certainty, mean_logprob)]
    return [
        Sight(
            group=groups[row],
            reward=(rewards or nothing)[row],
            answer=answers[row],
            entropy=-measures[0][row],
            self_certainty=measures[1][row],
            mean_logprob=measures[2][row],
            length=len(ids[row]),
            truncated=truncated[row],
            repetition=repetition(ids[row]),
            words=count_words(text),
            transitions=transitions(text),
            kl=(kl or nothing)[row],
        )
        for row, text in enumerate(texts)
    ]


def sights_of(groups: Sequence[TraceGroup], settings: AnswerSettings) -> list[Sight]:
    """What monitors keep of groups whose traces carry the signals of their sampling, at temperature 1."""
    own = answers_by_prompt([group.prompt for group in groups], settings)
    traces = [trace for group in groups for trace in group.traces]
    return sights(
        [trace.prompt_id for trace in traces],
        [trace.completion_ids for trace in traces],
        [trace.completion for trace in traces],
        collate([trace.signals for trace in traces if trace.signals]),
        [trace.finish_reason is FinishReason.LENGTH for trace in traces],
        [answer_of(trace.completion, own[trace.prompt_id]) for trace in traces],
    )

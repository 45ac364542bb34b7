"""RLSF from traces to a ranking: stages that need a model only where the settings say so."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from inward import rank
from inward.methods.rounds import Round
from inward.methods.settings.rlsf import Settings
from inward.methods.start import Start
from inward.runs import Records
from inward.types import PreferencePair, ScoredGroup, Trace, TraceGroup

SHARD_PROMPTS = 32
"""Prompts per shard: what a killed run may have to sample again."""


def score_stage(
    traces: Sequence[TraceGroup], start: Start | None, here: Round, settings: Settings
) -> Records[ScoredGroup]:
    """Every measure of every trace that is known of it, by a model where `scores_with_model` and it is given."""

    def make(chunk: Sequence[TraceGroup]) -> Iterator[ScoredGroup]:
        from inward.score import score  # loads torch, which ranking does not need

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

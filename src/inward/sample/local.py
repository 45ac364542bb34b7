"""Sample traces from a Hugging Face model on this machine: i.i.d. samples, CoT branches, or both.

Branching is CoT decoding (arXiv 2402.10200, as used by RLSF): the K most probable first tokens, end of sequence
barred, each continued greedily.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Sequence

from inward.answers import AnswerSettings
from inward.errors import DataError
from inward.models import Policy, decode, render, token_ends
from inward.sample.decode import Decoded, Decoding, Row, decode_rows
from inward.sample.fitting import rows_that_fit
from inward.sample.probe import PROBE_TOKENS, asking_of, questions_of
from inward.types import FinishReason, Prompt, SamplingParams, Source, Trace, TraceGroup

WINDOW_PROMPTS = 64
"""Prompts that are put in order of length: all their traces are made before the first group comes out."""


def check_prompts(prompts: Iterable[Prompt], policy: Policy) -> list[str]:
    """Render every prompt once, so that one that cannot be sampled is refused before any work.

    Returns:
        Ids of the prompts that fill the model's whole context.
    """
    too_long: list[str] = []
    for prompt in prompts:
        ids = render(prompt, policy)
        if len(ids) >= policy.context:
            too_long.append(prompt.id)
        if prompt.text is not None and not _survives(prompt.text, decode(policy.tokenizer, ids)):
            raise DataError(
                f"prompt {prompt.id}: the tokenizer of {policy.name} turns {prompt.text[:40]!r} into "
                f"{decode(policy.tokenizer, ids)[:40]!r}; it has no tokens for this text"
            )
    return too_long


def _survives(text: str, decoded: str) -> bool:
    """Whether most letters and digits of a text are still there after tokenisation, whatever their case."""
    letters = {char for char in text.casefold() if char.isalnum()}
    return len(letters & set(decoded.casefold())) * 2 >= len(letters)


def refuse_long(too_long: Sequence[str], policy: Policy, remedy: str = "shorten or remove them") -> None:
    """Raise DataError naming the prompts that leave no room for a completion."""
    if too_long:
        shown = ", ".join(too_long[:5]) + (", ..." if len(too_long) > 5 else "")
        raise DataError(
            f"prompts as long as the whole context of {policy.name}, {policy.context} tokens: {shown} "
            f"({len(too_long)} in all); {remedy}"
        )


def sample(
    prompts: Sequence[Prompt],
    policy: Policy,
    params: SamplingParams,
    *,
    batch_rows: int | None = None,
    memory_gib: float | None = None,
    answer: AnswerSettings | None = None,
) -> Iterator[TraceGroup]:
    """One group of traces per prompt, in order.

    Prompts of like length are decoded together. A trace does not depend on the others in its batch, but for rounding:
    in half precision another batch size can change a token where two are all but equally good.

    Args:
        prompts: what to ask; ids must be distinct, since they key the random streams.
        policy: the frozen model.
        params: see `SamplingSettings.params`.
        batch_rows: most traces decoded at once; None for as many as fit.
        memory_gib: see `SamplingSettings.memory_gib`.
        answer: asks for the answer of the traces that `answer.elicit` names, as `probe` does, while the cache of each
            trace is still there; None asks nobody.

    Yields:
        Groups with the greedy trace first, then samples, then branches, each trace with its signals.
    """
    ids = [render(prompt, policy) for prompt in prompts]
    refuse_long([p.id for p, i in zip(prompts, ids, strict=True) if len(i) >= policy.context], policy)
    rooms = [min(params.max_completion_tokens, policy.context - len(i)) for i in ids]
    if min(rooms, default=params.max_completion_tokens) < params.max_completion_tokens:
        warnings.warn(
            f"some prompts leave less than max_completion_tokens = {params.max_completion_tokens} of the "
            f"{policy.context} tokens of context; their completions are cut earlier",
            stacklevel=2,
        )
    questions = questions_of(prompts, policy, answer) if answer else {}
    asking = asking_of(prompts, ids, questions, policy, answer) if answer and questions else None
    extra = max(map(len, questions.values())) + PROBE_TOKENS if questions else 0
    for start in range(0, len(prompts), WINDOW_PROMPTS):
        window = range(start, min(start + WINDOW_PROMPTS, len(prompts)))
        made: dict[int, list[tuple[Row, Decoded]]] = {}
        order = sorted(window, key=lambda index: -len(ids[index]))
        # Rows decoded together share one length limit, so that no row runs past its context.
        for room, members in itertools.groupby(order, key=lambda index: rooms[index]):
            rows = [row for index in members for row in _rows(index, prompts[index].id, params)]
            decoding = Decoding(
                temperature=params.temperature, top_p=params.top_p, max_new_tokens=room, seed=params.seed
            )
            fit = rows_that_fit(policy, len(ids[rows[0].prompt]), room, extra, memory_gib)
            decoded = decode_rows(policy, ids, rows, decoding, asking=asking, batch_rows=min(fit, batch_rows or fit))
            for row, one in zip(rows, decoded, strict=True):
                made.setdefault(row.prompt, []).append((row, one))
        for index in window:
            traces = _traces(prompts[index].id, ids[index], made[index], policy)
            yield TraceGroup(prompt=prompts[index], traces=traces, sampling=params)


def _traces(
    prompt_id: str, prompt_ids: Sequence[int], made: Sequence[tuple[Row, Decoded]], policy: Policy
) -> tuple[Trace, ...]:
    unstopped = FinishReason.LENGTH if policy.eos_ids else FinishReason.FIXED
    texts = [decode(policy.tokenizer, one.ids) for _, one in made]
    ends = token_ends(policy.tokenizer, [one.ids for _, one in made], texts)
    return tuple(
        Trace(
            prompt_id=prompt_id,
            index=index,
            source=row.source,
            prompt_ids=tuple(prompt_ids),
            completion_ids=one.ids,
            completion=text,
            token_ends=end,
            finish_reason=FinishReason.STOP if one.stopped else unstopped,
            policy=policy.name,
            signals=one.signals,
            answer_probe=None if one.reply is None else decode(policy.tokenizer, one.reply),
        )
        for index, ((row, one), text, end) in enumerate(zip(made, texts, ends, strict=True))
    )


def _rows(index: int, prompt_id: str, params: SamplingParams) -> list[Row]:
    greedy = [Row(prompt=index, key="", source=Source.GREEDY)] * (params.strategy in ("greedy", "evaluate"))
    samples = [Row(prompt=index, key=f"{prompt_id}/{i}", source=Source.SAMPLE) for i in range(params.group_size)]
    branches = [Row(prompt=index, key="", source=Source.BRANCH, branch=rank) for rank in range(params.num_branches)]
    return greedy + samples + branches

"""Sample traces from completions endpoints that serve the start model: i.i.d. samples, CoT branches, or both.

As in `inward.sample.local`, but for three things. Branches take two requests: one token with the most probable ones
beside it, then each of these continued greedily. A sampled trace is drawn by the server, from a seed made of the run's
seed, the prompt's id and the trace's index; it is not the trace that would be drawn here. And only top
log-probabilities come back, so that entropy and self-certainty of a token are not known: NaN in its signals.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from inward.answers import AnswerSettings
from inward.batch import spread
from inward.forward import sequence_signals
from inward.models import Policy, decode, evaluating, render, token_ends
from inward.sample.completions import Reply, Request, Vocabulary, body_of, read_reply
from inward.sample.endpoint import Endpoints
from inward.sample.local import refuse_long
from inward.sample.probe import probe, questions_of
from inward.sample.replies import Replies, key_of
from inward.settings import ServerSettings
from inward.types import FinishReason, Prompt, SamplingParams, Source, Trace, TraceGroup, TraceSignals

COMPARED = 4
"""Traces of the first prompt whose log-probabilities are computed here, too."""
APART = 0.2
"""Mean difference, in nats a token, that half precision does not explain."""

Ask = Callable[[Sequence[Request]], list[Reply]]
Make = Callable[[Sequence[Prompt], SamplingParams, AnswerSettings], list[TraceGroup]]

Made = tuple[tuple[int, ...], TraceSignals, bool]
"""Token ids of a completion, their signals, and whether an end-of-sequence token is the last of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One trace to be."""

    prompt: int
    source: Source
    head: tuple[int, float, float] | None = None
    """Of a branch: the first token, its log-probability and its disparity."""
    request: Request | None
    """None where the first token is all that there is room for."""


@contextmanager
def serving(policy: Policy, settings: ServerSettings, kept: Path) -> Iterator[Make]:
    """What makes the groups of some prompts, in order, with the answers that had to be asked for.

    Args:
        policy: the start model, which says whether the endpoints serve the same.
        settings: where it is served.
        kept: file of the replies to the prompts under way; it is there after an error, and gone after success. All
            that was made of earlier prompts must be on disk when the next ones are asked for.

    Raises:
        SettingsError: The key is not there.
        ServerError: From making groups: an endpoint refused, or all of them keep failing.
    """
    endpoints, replies, fresh = Endpoints(settings), Replies(kept), True
    size = policy.model.config.get_text_config().vocab_size
    vocabulary = Vocabulary(policy.tokenizer, size, tuple(i for i in policy.eos_ids if i < size))
    pool = ThreadPoolExecutor(settings.concurrency * len(settings.endpoints), thread_name_prefix="request")
    ask = _asker(endpoints, replies, vocabulary, pool)

    def make(prompts: Sequence[Prompt], params: SamplingParams, answer: AnswerSettings) -> list[TraceGroup]:
        nonlocal fresh
        if not fresh:
            replies.clear()
        groups = _groups(prompts, policy, params, _Asking(ask, vocabulary.eos_ids, 1 if settings.rescore else 2))
        if fresh:
            _compare(groups[0], policy)
        fresh = False
        asked = _probed(groups, policy, answer, ask)
        return [_without_signals(group) for group in asked] if settings.rescore else asked

    try:
        yield make
    finally:
        endpoints.close()
        pool.shutdown(cancel_futures=True)
    replies.clear()


def _asker(endpoints: Endpoints, replies: Replies, vocabulary: Vocabulary, pool: ThreadPoolExecutor) -> Ask:
    """What gives the replies to requests, in their order; those that are kept are not sent again."""

    def one(request: Request) -> Reply:
        body = body_of(request, vocabulary.eos_ids)
        key = key_of(body)
        reply = replies.get(key)
        if reply is None:
            reply = endpoints.post(body, lambda payload: read_reply(payload, request, vocabulary))
            replies.put(key, reply)
        return reply

    def ask(requests: Sequence[Request]) -> list[Reply]:
        futures = [pool.submit(one, request) for request in requests]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        return [future.result() for future in futures]

    return ask


@dataclass(frozen=True)
class _Asking:
    """How traces are asked for."""

    ask: Ask
    eos_ids: tuple[int, ...]
    top: int
    """Log-probabilities at each token: two for its disparity, one where it is computed here."""


def _groups(prompts: Sequence[Prompt], policy: Policy, params: SamplingParams, asking: _Asking) -> list[TraceGroup]:
    """One group per prompt: the greedy trace first, then samples, then branches."""
    ids = [tuple(render(prompt, policy)) for prompt in prompts]
    refuse_long([p.id for p, i in zip(prompts, ids, strict=True) if len(i) >= policy.context], policy)
    rooms = [min(params.max_completion_tokens, policy.context - len(i)) for i in ids]
    if min(rooms, default=params.max_completion_tokens) < params.max_completion_tokens:
        warnings.warn(
            f"some prompts leave less than max_completion_tokens = {params.max_completion_tokens} of the "
            f"{policy.context} tokens of context; their completions are cut earlier",
            stacklevel=2,
        )
    firsts = _firsts(ids, params.num_branches, asking)
    rows: list[_Row] = []
    for index, (prompt, own, room, first) in enumerate(zip(prompts, ids, rooms, firsts, strict=True)):
        rows += _drawn_rows(index, prompt.id, Request(prompt_ids=own, max_tokens=room, top=asking.top), params)
        rows += _branch_rows(index, Request(prompt_ids=own, max_tokens=room - 1, top=asking.top), first)
    replies = iter(asking.ask([row.request for row in rows if row.request]))
    made = [_completion(row, next(replies) if row.request else None) for row in rows]
    traces = _traces(rows, made, [(prompt.id, own) for prompt, own in zip(prompts, ids, strict=True)], policy)
    return [
        TraceGroup(prompt=prompt, traces=tuple(group), sampling=params)
        for prompt, group in zip(prompts, traces, strict=True)
    ]


def _firsts(
    ids: Sequence[tuple[int, ...]], num_branches: int, asking: _Asking
) -> list[Mapping[int, tuple[float, float]]]:
    """For each prompt the most probable first tokens, end of sequence barred: log-probability and disparity."""
    if not num_branches:
        return [{} for _ in ids]
    top = num_branches + len(asking.eos_ids)
    replies = asking.ask([Request(prompt_ids=i, max_tokens=1, top=top, named=True) for i in ids])
    found: list[Mapping[int, tuple[float, float]]] = []
    for tops in (reply.tops[0] for reply in replies):
        order = sorted(tops, key=lambda token, tops=tops: (-tops[token], token))
        heads = [token for token in order if token not in asking.eos_ids][:num_branches]
        found.append({token: (tops[token], _disparity(token, tops[token], tops)) for token in heads})
    return found


def _drawn_rows(index: int, prompt_id: str, greedy: Request, params: SamplingParams) -> list[_Row]:
    rows = [_Row(prompt=index, source=Source.GREEDY, request=greedy)] * (params.strategy == "greedy")
    for i in range(params.group_size):
        digest = hashlib.sha256(f"{params.seed}/{prompt_id}/{i}".encode()).digest()
        seed = int.from_bytes(digest[:4], "little") >> 1  # 31 bits, which every server takes
        drawn = dataclasses.replace(greedy, temperature=params.temperature, top_p=params.top_p, seed=seed)
        rows.append(_Row(prompt=index, source=Source.SAMPLE, request=drawn))
    return rows


def _branch_rows(index: int, rest: Request, first: Mapping[int, tuple[float, float]]) -> list[_Row]:
    return [
        _Row(
            prompt=index,
            source=Source.BRANCH,
            head=(token, logprob, disparity),
            request=dataclasses.replace(rest, prompt_ids=(*rest.prompt_ids, token)) if rest.max_tokens else None,
        )
        for token, (logprob, disparity) in first.items()
    ]


def _completion(row: _Row, reply: Reply | None) -> Made:
    ids: list[int] = []
    logprob: list[float] = []
    disparity: list[float] = []
    if row.head:
        ids, logprob, disparity = [row.head[0]], [row.head[1]], [row.head[2]]
    if reply:
        ids += reply.ids
        logprob += reply.logprob
        disparity += map(_disparity, reply.ids, reply.logprob, reply.tops)
    unknown = (math.nan,) * len(ids)
    signals = TraceSignals(logprob=tuple(logprob), entropy=unknown, self_certainty=unknown, disparity=tuple(disparity))
    return tuple(ids), signals, bool(reply and reply.stopped)


def _disparity(token: int, logprob: float, top: Mapping[int, float]) -> float:
    """NaN where no other token was asked for, since the signals are computed here."""
    others = max((value for one, value in top.items() if one != token), default=math.nan)
    return math.exp(logprob) - math.exp(others)


def _traces(
    rows: Sequence[_Row], made: Sequence[Made], prompts: Sequence[tuple[str, tuple[int, ...]]], policy: Policy
) -> list[list[Trace]]:
    """The traces of each prompt, given its id and its token ids."""
    texts = [decode(policy.tokenizer, ids) for ids, _, _ in made]
    ends = token_ends(policy.tokenizer, [ids for ids, _, _ in made], texts)
    unstopped = FinishReason.LENGTH if policy.eos_ids else FinishReason.FIXED
    traces: list[list[Trace]] = [[] for _ in prompts]
    for row, (ids, signals, stopped), text, end in zip(rows, made, texts, ends, strict=True):
        prompt_id, prompt_ids = prompts[row.prompt]
        traces[row.prompt].append(
            Trace(
                prompt_id=prompt_id,
                index=len(traces[row.prompt]),
                source=row.source,
                prompt_ids=prompt_ids,
                completion_ids=ids,
                completion=text,
                token_ends=end,
                finish_reason=FinishReason.STOP if stopped else unstopped,
                policy=policy.name,
                signals=signals,
            )
        )
    return traces


def _probed(groups: list[TraceGroup], policy: Policy, answer: AnswerSettings, ask: Ask) -> list[TraceGroup]:
    """The groups with the answers asked for, of all of them at once."""

    def greedy(texts: Sequence[Sequence[int]], max_tokens: int) -> list[tuple[int, ...]]:
        return [one.ids for one in ask([Request(prompt_ids=tuple(t), max_tokens=max_tokens, top=1) for t in texts])]

    questions = questions_of([group.prompt for group in groups], policy, answer)
    if not questions:
        return groups
    waiting = ThreadPoolExecutor(len(questions))
    try:
        answered = waiting.map(lambda i: next(probe([groups[i]], policy, answer, greedy=greedy)), questions)
        by_index = dict(zip(questions, answered, strict=True))
    finally:
        waiting.shutdown(wait=False)  # after an interruption nobody waits for requests under way
    return [by_index.get(index, group) for index, group in enumerate(groups)]


def _compare(group: TraceGroup, policy: Policy) -> None:
    """Warn where the log-probabilities are not those of the model here: then another one is served."""
    traces = [trace for trace in group.traces if trace.signals][:COMPARED]
    with evaluating(policy.model):
        own = spread(
            sequence_signals(policy.model, [(one.prompt_ids, one.completion_ids) for one in traces], policy.pad_id)
        )
    apart = [
        abs(value - other)
        for trace, here in zip(traces, own, strict=True)
        if trace.signals
        for value, other in zip(trace.signals.logprob, here.logprob, strict=True)
    ]
    mean = sum(apart) / max(len(apart), 1)
    if mean > APART:
        warnings.warn(
            f"the log-probabilities of the endpoints are {mean:.2f} nats a token from those of {policy.name} here; do "
            "they serve the same weights, and log-probabilities before temperature and penalties?",
            stacklevel=2,
        )


def _without_signals(group: TraceGroup) -> TraceGroup:
    traces = tuple(dataclasses.replace(trace, signals=None) for trace in group.traces)
    return dataclasses.replace(group, traces=traces)

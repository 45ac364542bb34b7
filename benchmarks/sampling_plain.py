"""The peers of `sampling.py`: what one writes with transformers alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from sampling_models import Case
from torch import Tensor
from transformers import ContinuousBatchingConfig, GenerationConfig

from inward import answers
from inward.batch import SIGNALS
from inward.models import decode, render, token_ends
from inward.sample.decode import without_eos
from inward.sample.probe import PROBE_TOKENS, questions_of
from inward.score import score
from inward.signals import token_signals
from inward.types import FinishReason, ScoredGroup, Source, Trace, TraceGroup, TraceSignals

Reply = Callable[[Sequence[list[int]]], list[list[int]]]
"""Continues texts greedily."""

Made = tuple[tuple[int, ...], TraceSignals | None]
"""Token ids of a completion, and its signals where they are known."""


@torch.inference_mode()
def plain(case: Case, prompts_at_once: int) -> list[ScoredGroup]:
    """`generate` with kept scores, then `generate` again for the answers."""
    policy, size = case.policy, case.params.group_size
    traces: list[list[Trace]] = []
    for start in range(0, len(case.prompts), prompts_at_once):
        batch = case.prompts[start : start + prompts_at_once]
        texts = [render(prompt, policy) for prompt in batch]
        ids, mask = padded(texts, case)
        out = policy.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=case.params.max_completion_tokens,
            num_return_sequences=size,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            output_scores=True,
            return_dict_in_generate=True,
        )
        made = completions(out.sequences[:, ids.shape[1] :], out.scores, case)
        traces += [written(case, start + i, text, made[i * size : (i + 1) * size]) for i, text in enumerate(texts)]
        del out

    def reply(texts: Sequence[list[int]]) -> list[list[int]]:
        ids, mask = padded(texts, case)
        out = policy.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=PROBE_TOKENS, do_sample=False)
        return out[:, ids.shape[1] :].tolist()

    rows = prompts_at_once * size
    return list(score(asked(case, traces, reply, rows), case.answer))


def continuous(case: Case) -> list[ScoredGroup]:
    """`generate_batch` for the traces and for the answers; their signals by a forward pass."""
    policy, size = case.policy, case.params.group_size
    batching = ContinuousBatchingConfig(page_size=64, max_memory_percent=0.1)
    texts = [render(prompt, policy) for prompt in case.prompts]

    def generated(inputs: Sequence[list[int]], tokens: int, *, sampled: bool) -> list[list[int]]:
        config = GenerationConfig(
            max_new_tokens=tokens,
            do_sample=sampled,
            top_k=0 if sampled else None,
            eos_token_id=list(policy.eos_ids),
            pad_token_id=policy.pad_id,
        )
        out = policy.model.generate_batch(list(inputs), generation_config=config, continuous_batching_config=batching)
        if len(out) != len(inputs):
            raise RuntimeError(f"generate_batch gave {len(out)} of {len(inputs)} completions")
        return [one.generated_tokens for one in out.values()]

    repeated = [text for text in texts for _ in range(size)]
    made: list[Made] = [
        (tuple(ids), None) for ids in generated(repeated, case.params.max_completion_tokens, sampled=True)
    ]
    traces = [written(case, i, text, made[i * size : (i + 1) * size]) for i, text in enumerate(texts)]
    groups = asked(case, traces, lambda inputs: generated(inputs, PROBE_TOKENS, sampled=False), len(repeated))
    return list(score(groups, case.answer, policy=policy))


def padded(texts: Sequence[Sequence[int]], case: Case) -> tuple[Tensor, Tensor]:
    """Token ids and mask, padded on the left."""
    width, pad, device = max(map(len, texts)), case.policy.pad_id, case.policy.model.device
    ids = torch.tensor([[pad] * (width - len(text)) + list(text) for text in texts], device=device)
    mask = torch.tensor([[0] * (width - len(text)) + [1] * len(text) for text in texts], device=device)
    return ids, mask


def completions(tokens: Tensor, scores: Sequence[Tensor], case: Case) -> list[Made]:
    """Completions up to their ends, with signals from the kept scores, step by step."""
    every = torch.ones(len(tokens), 1, dtype=torch.bool, device=tokens.device)
    steps = [token_signals(score[:, None], tokens[:, t, None], every) for t, score in enumerate(scores)]
    columns = {name: torch.cat([getattr(step, name) for step in steps], 1).tolist() for name in SIGNALS}
    made: list[Made] = []
    for row, ids in enumerate(tokens.tolist()):
        length = next((t + 1 for t, token in enumerate(ids) if token in case.policy.eos_ids), len(ids))
        signals = TraceSignals(**{name: tuple(values[row][:length]) for name, values in columns.items()})
        made.append((tuple(ids[:length]), signals))
    return made


def written(case: Case, index: int, prompt_ids: Sequence[int], made: Sequence[Made]) -> list[Trace]:
    """The traces of one prompt."""
    texts = [decode(case.policy.tokenizer, ids) for ids, _ in made]
    ends = token_ends(case.policy.tokenizer, [ids for ids, _ in made], texts)
    return [
        Trace(
            prompt_id=case.prompts[index].id,
            index=number,
            source=Source.SAMPLE,
            prompt_ids=tuple(prompt_ids),
            completion_ids=ids,
            completion=text,
            token_ends=end,
            finish_reason=FinishReason.STOP if ids[-1] in case.policy.eos_ids else FinishReason.LENGTH,
            policy=case.name,
            signals=signals,
        )
        for number, ((ids, signals), text, end) in enumerate(zip(made, texts, ends, strict=True))
    ]


def asked(case: Case, traces: Sequence[list[Trace]], reply: Reply, rows: int) -> list[TraceGroup]:
    """Groups whose traces without a readable answer were asked for it."""
    question = questions_of(case.prompts[:1], case.policy, case.answer).get(0, [])
    flat = [one for group in traces for one in group]
    chosen = [
        i
        for i, one in enumerate(flat)
        if question and answers.find(one.completion, case.answer.kind, case.answer.labels) is None
    ]
    for start in range(0, len(chosen), rows):
        part = chosen[start : start + rows]
        inputs = [
            [*one.prompt_ids, *without_eos(one.completion_ids, case.policy.eos_ids), *question]
            for one in (flat[i] for i in part)
        ]
        for i, ids in zip(part, reply(inputs), strict=True):
            end = next((t for t, token in enumerate(ids) if token in case.policy.eos_ids), len(ids))
            flat[i] = dataclasses.replace(flat[i], answer_probe=decode(case.policy.tokenizer, ids[:end]))
    size = case.params.group_size
    return [
        TraceGroup(prompt=prompt, traces=tuple(flat[i * size : (i + 1) * size]), sampling=case.params)
        for i, prompt in enumerate(case.prompts)
    ]

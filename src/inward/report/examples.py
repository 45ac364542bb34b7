"""Some traces to read: which ones, and each as text shaded by disparity."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from inward.report.data import Judged
from inward.report.derived import Roles
from inward.report.markup import clip, counted, decimal, esc
from inward.types import EvalItem, JudgedTrace, Outcome, Prompt, ScoredGroup, ScoredTrace

NUM_PER_SIDE = 3
"""Chosen, and rejected, traces shown of a training prompt."""
MAX_TOKENS = 200
"""Tokens shown of a trace; of a longer one the beginning, the end and the answer."""
MAX_PROMPT_CHARACTERS = 1500
SHADES = 8
"""Steps of shading, 0 (none) for a lead of one over the best rival."""

LEGEND = (
    "Tokens are shaded by disparity, their lead over the best rival "
    '(<span class="sample"><i class="s0"> 1 </i><i class="s4"> 0.5 </i><i class="s8"> 0 </i></span>); '
    'the <span class="sample"><i class="a">answer</i></span> is underlined; hover over a token for its numbers.'
)
"""How to read the tokens, as markup."""

OUTCOMES = {
    Outcome.CORRECT: ("right", "good"),
    Outcome.INCORRECT: ("wrong", "bad"),
    Outcome.NO_ANSWER: ("no answer", "bad"),
    Outcome.UNSCORED: ("could not be graded", "same"),
}


def evaluated(judged: Sequence[tuple[str, Judged]], ids: Collection[str]) -> Iterator[str]:
    """Give a folded box per problem, with its greedy trace of every (heading, checkpoint)."""
    wanted = {*ids}
    items = [{item.prompt_id: item for item in one.items if item.prompt_id in wanted} for _, one in judged]
    for number, prompt_id in enumerate(ids):
        found = [
            (heading, of_items[prompt_id], one.groups[prompt_id])
            for (heading, one), of_items in zip(judged, items, strict=True)
            if prompt_id in of_items and prompt_id in one.groups
        ]
        if not found:
            continue
        verdicts = " → ".join(OUTCOMES[item.greedy.outcome][0] for _, item, _ in found)
        columns = "".join(
            _judged_trace(heading, item.greedy, trace)
            for heading, item, group in found
            for trace in _greedy(group, item)
        )
        _, item, group = found[-1]
        summary = f'<b>{esc(clip(prompt_id, 80))}</b> <span class="quiet">{verdicts}</span>'
        gold = f'<p class="quiet">Gold answer: <b>{esc(clip(item.gold, 200))}</b></p>'
        narrow = " narrow" if len(found) > 3 else ""
        shown = f'{gold}<div class="columns{narrow}">{columns}</div>'
        yield _box(summary, group.prompt, shown, unfolded=number < 2)


def trained(groups: Iterable[ScoredGroup], roles: Mapping[str, Roles]) -> Iterator[str]:
    """Give a folded box per training prompt, with its surest chosen and least sure rejected traces.

    Args:
        groups: The scored groups to show.
        roles: What became of their traces, by prompt id; groups without pairs show their surest traces.
    """
    for number, group in enumerate(groups):
        ranked = sorted(group.traces, key=lambda scored: -scored.measures.get(group.confidence, 0.0))
        role = roles.get(group.prompt.id)
        count = f"{len(group.traces)} traces"
        if role is None:
            sides = [("", "none", ranked[:NUM_PER_SIDE])]
        else:
            count += f", {len(role.chosen)} chosen, {len(role.rejected)} rejected"
            best = [scored for scored in ranked if scored.trace.index in role.chosen][:NUM_PER_SIDE]
            worst = [scored for scored in ranked if scored.trace.index in role.rejected][-NUM_PER_SIDE:]
            sides = [("chosen", "good", best), ("rejected", "bad", worst)]
        columns = "".join(
            "<div>" + "".join(_training_trace(word, style, scored, group.confidence) for scored in side) + "</div>"
            for word, style, side in sides
        )
        summary = f'<b>{esc(clip(group.prompt.id, 80))}</b> <span class="quiet">{count}</span>'
        yield _box(summary, group.prompt, f'<div class="columns">{columns}</div>', unfolded=number < 1)


def tokens(scored: ScoredTrace) -> str:
    """Write a completion token by token: shaded by disparity, the answer marked, signals on hovering."""
    trace, span = scored.trace, scored.answer_tokens
    shown = _shown(len(trace.token_ends), None if span is None else (span.start, span.end))
    parts: list[str] = []
    start, previous = 0, -1
    ends = trace.token_ends
    for index in shown:
        if index != previous + 1:
            parts.append(f'<span class="cut">… {index - previous - 1:,} tokens left out …</span>')
            start = ends[index - 1]
        text = trace.completion[start : ends[index]]
        start, previous = ends[index], index
        if text:
            marked = span is not None and span.start <= index < span.end
            parts.append(_token(text, scored, index, marked=marked))
    return "".join(parts)


def asked(prompt: Prompt) -> str:
    """Write a prompt as one text; a conversation with its roles."""
    if prompt.messages is None:
        return prompt.text or ""
    return "\n\n".join(f"{message.role}: {message.content}" for message in prompt.messages)


def _token(text: str, scored: ScoredTrace, index: int, *, marked: bool) -> str:
    signals = scored.trace.signals
    answer = " a" if marked else ""
    if signals is None:
        return f'<i class="t{answer}">{esc(text)}</i>'
    disparity = signals.disparity[index]
    about = (
        f"probability {decimal(math.exp(signals.logprob[index]))}, "
        f"entropy {decimal(signals.entropy[index])} nats, disparity {decimal(disparity)}"
    )
    return f'<i class="s{shade(disparity)}{answer}" title="{about}">{esc(text)}</i>'


def shade(disparity: float) -> int:
    """Give the step of shading: 0 at a disparity of 1, `SHADES` at 0 and below."""
    return round(SHADES * (1 - min(1.0, max(0.0, disparity)))) if math.isfinite(disparity) else 0


def _shown(count: int, span: tuple[int, int] | None) -> list[int]:
    """Choose the tokens to show, in order."""
    if count <= MAX_TOKENS:
        return list(range(count))
    half = MAX_TOKENS // 2
    kept = set(range(half)) | set(range(count - half, count))
    if span is not None:
        kept |= set(range(max(0, span[0] - 8), min(count, span[1] + 2, span[0] + half)))
    return sorted(kept)


def _greedy(group: ScoredGroup, item: EvalItem) -> list[ScoredTrace]:
    return [scored for scored in group.traces if scored.trace.index == item.greedy.index]


def _judged_trace(heading: str, judged: JudgedTrace, scored: ScoredTrace) -> str:
    word, style = OUTCOMES[judged.outcome]
    facts = f"probability {decimal(judged.probability)} · disparity {decimal(judged.disparity)}"
    if judged.length is not None:
        facts += f" · {counted(judged.length, 'token')}"
    return _trace(heading, word, style, scored, facts)


def _training_trace(word: str, style: str, scored: ScoredTrace, measure: str) -> str:
    confidence = decimal(scored.measures.get(measure, math.nan))
    return _trace(str(scored.trace.source), word, style, scored, f"confidence {confidence}")


def _trace(heading: str, word: str, style: str, scored: ScoredTrace, facts: str) -> str:
    answer = "none" if scored.answer is None else esc(clip(scored.answer, 200))
    return (
        f'<article class="trace"><header><span class="quiet">{esc(heading)}</span> '
        f'<span class="pill {style}">{word}</span></header><p class="completion">{tokens(scored)}</p>'
        f"<footer>answer <b>{answer}</b> · {facts} · {scored.trace.finish_reason}</footer></article>"
    )


def _box(summary: str, prompt: Prompt, body: str, *, unfolded: bool) -> str:
    return (
        f'<details class="example"{" open" if unfolded else ""}><summary>{summary}</summary>'
        f'<p class="prompt">{esc(clip(asked(prompt), MAX_PROMPT_CHARACTERS))}</p>{body}</details>'
    )

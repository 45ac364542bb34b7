"""Which of a problem's traces gives its answer, and what that answer cost.

| decoding | the answer is that of | tokens |
|---|---|---|
| `greedy` | the greedy trace | its own |
| `cot_prompt` | the greedy trace of a prompt that asks for a chain of thought | its own |
| `cot_decoding` | the branch whose answer has the largest disparity | those of all branches |
| `cot_decoding_sum` | the branches whose disparities, summed by answer, are the largest | those of all branches |
| `self_consistency` | most samples | those of all samples |

Branches continue the K most probable first tokens greedily (CoT decoding, Wang and Zhou, arXiv 2402.10200). No prompt
tokens are counted. Samples drawn for other metrics cost nothing here, since the answer does not need them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from inward.errors import DataError
from inward.types import ScoredTrace, Source

Decoding = Literal["greedy", "cot_prompt", "cot_decoding", "cot_decoding_sum", "self_consistency"]
DECODINGS: tuple[Decoding, ...] = get_args(Decoding)

_NEEDS = {
    Source.GREEDY: "one greedy trace and any number of samples",
    Source.BRANCH: "branches and any number of samples",
    Source.SAMPLE: "one sample or more",
}


def source_of(decoding: Decoding) -> Source:
    """Say what kind of trace a decoding chooses from."""
    match decoding:
        case "greedy" | "cot_prompt":
            return Source.GREEDY
        case "cot_decoding" | "cot_decoding_sum":
            return Source.BRANCH
        case "self_consistency":
            return Source.SAMPLE


def candidates(traces: Sequence[ScoredTrace], decoding: Decoding, prompt_id: str) -> list[ScoredTrace]:
    """Return the traces that a decoding chooses from, in their order.

    Raises:
        DataError: A group lacks them, or has traces that are neither these nor samples.
    """
    source = source_of(decoding)
    found = [one for one in traces if one.trace.source is source]
    count = {one: sum(trace.trace.source is one for trace in traces) for one in (Source.GREEDY, Source.SAMPLE)}
    allowed = len(found) == 1 if source is Source.GREEDY else bool(found)
    if not allowed or any(one.trace.source not in (source, Source.SAMPLE) for one in traces):
        raise DataError(
            f"Group {prompt_id!r} has {count[Source.GREEDY]} greedy, {count[Source.SAMPLE]} sampled and "
            f"{len(traces) - sum(count.values())} other traces: for {decoding} evaluate groups of {_NEEDS[source]}."
        )
    return found


def choose(forms: Sequence[str | None], disparities: Sequence[float], decoding: Decoding) -> int:
    """Return the position of the trace that stands for the answer which a decoding gives.

    Of the traces with that answer it is the first of `self_consistency`, and the surest of `cot_decoding_sum`, whose
    rule is argmax over answers a of the sum over branches k of disparity(k, a) (arXiv 2402.10200). Ties
    go to the first. Without any answer it is the first trace.

    Args:
        forms: Answers of the candidates, at least one, in the form that equal answers share; None where there is none.
        disparities: Their answer disparities; in sums, negative ones count as 0.
        decoding: Its name.
    """
    given = [position for position, form in enumerate(forms) if form is not None] or [0]
    match decoding:
        case "greedy" | "cot_prompt":
            return 0
        case "self_consistency":
            return vote(forms, [1.0] * len(forms)) or 0
        case "cot_decoding":
            return max(given, key=lambda position: disparities[position])
        case "cot_decoding_sum":
            winner = forms[vote(forms, disparities) or 0]
            return max((p for p in given if forms[p] == winner), key=lambda position: disparities[position])


def vote(forms: Sequence[str | None], weights: Sequence[float]) -> int | None:
    """Return the position of the first trace whose answer has the largest sum of weights; None without an answer.

    Negative weights count as 0, and ties go to the answer given first.
    """
    totals: dict[str, float] = {}
    for form, weight in zip(forms, weights, strict=True):
        if form is not None:
            totals[form] = totals.get(form, 0.0) + max(weight, 0.0)
    return forms.index(max(totals, key=lambda form: totals[form])) if totals else None

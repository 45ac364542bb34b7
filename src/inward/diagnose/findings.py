"""From a history to findings: what went on in a training, in words, with its evidence and advice. No labels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

from inward.diagnose.history import History
from inward.diagnose.rule import Decision, StopSettings, decide, paired_change
from inward.types import Finding, Severity

ENTROPY_LEFT = 0.1
"""Share of the start's token entropy below which it has collapsed: hardly any trace differs from the greedy one."""
LENGTH_BOUNDS = (0.5, 2.0)
"""Length, as a multiple of the start's, outside which it has collapsed."""
REPETITION_RISE = 0.1
"""Rise of the share of repeated 4-grams that counts as repetition."""
TRUNCATED = 0.1
"""Rise of the share of traces cut at the limit that counts."""
AGREED = 0.9
"""Agreement within groups from which on it has saturated."""
ONE_ANSWER = 0.15
"""Rise of the share that the most frequent answer has of all answers to all prompts, that counts."""
FORMAT_GAIN = 0.1
"""Rise of the share of traces with an answer that counts as a gain of format."""
MOSTLY = 0.5
"""Share of traces cut at the limit that counts, whether it rose or not."""
MOSTLY_ALPHA = 0.9
"""Share of RLSC's weight from alpha at the first step above which the weight itself hardly counts."""
ENGINE_MISMATCH = 0.1
"""Nats between vLLM's log-probability of a sampled token and the trainer's, on average, that count as a mismatch. Ours:
half of what inward warns of where an endpoint serves other weights than the model here."""
ENGINE_WEIGHT = 0.5
"""Mean importance weight of vLLM's traces below which most of what was sampled is not learned from."""
UNANSWERED = 0.05
"""Share of traces with an answer below which there are none to speak of."""
WINDOW = 3
"""Steps averaged at either end of the monitors, since a step sees few prompts."""

CLOSER = "hold the policy closer to the start model (raise optim.kl of rlif, optim.beta of rlsf)"

Ends = tuple[Mapping[str, float], Mapping[str, float]]


def findings(history: History, settings: StopSettings | None = None) -> list[Finding]:
    """Say what a training shows, most severe first; nothing where it shows nothing unusual.

    Compares the first steps with the last ones by the monitors where there are two or more, and else the first probe
    with the last one. Of a training that was judged before and after but not watched, everything is a note: RLSF may
    well teach longer traces, and answers that the start model seldom samples.
    """
    decision = decide(history.probes, settings or StopSettings())
    found = [*_drift(history, decision)]
    ends = _ends(history)
    if ends:
        looks = (_entropy, _length, _repetition, _truncation, _answers, _agreement, _format, _spread, _alpha, _engine)
        for look in looks:
            found.extend(look(ends, history, decision))
    if not _watched(history):
        return [dataclasses.replace(finding, severity=Severity.NOTE) for finding in found]
    order = list(reversed(Severity))
    return sorted(found, key=lambda finding: order.index(finding.severity))


def _watched(history: History) -> bool:
    return bool(history.monitors) or history.source == "training prompts"


def _ends(history: History) -> Ends | None:
    if len(history.monitors) > 1:
        width = min(WINDOW, len(history.monitors) // 2)
        return _average(history.monitors[:width]), _average(history.monitors[-width:])
    return _probe_ends(history)


def _probe_ends(history: History) -> Ends | None:
    return (history.probes[0].metrics, history.probes[-1].metrics) if len(history.probes) > 1 else None


def _average(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    keys = {key for row in rows for key in row}
    averages: dict[str, float] = {}
    for key in keys:
        known = [row[key] for row in rows if not math.isnan(row.get(key, math.nan))]
        averages[key] = sum(known) / len(known) if known else math.nan
    return averages


def _drift(history: History, decision: Decision) -> Iterator[Finding]:
    if decision.stop_step is not None:
        yield Finding(
            name="drift",
            severity=Severity.ALARM,
            evidence=decision.stop_reason,
            advice=f"keep the checkpoint of step {decision.kept_step}; what came after it sharpens nothing the start "
            "model knew"
            if _watched(history)
            else "the model drifted, or it found answers better than those it used to sample: accuracy tells which",
        )
    elif len(history.probes) > 1 and decision.kept_step == history.probes[0].step:
        change, error = paired_change(history.probes[0].support, history.probes[-1].support)
        yield Finding(
            name="no_gain",
            severity=Severity.WARNING,
            evidence=f"support went from {history.probes[0].mean:.3f} to {history.probes[-1].mean:.3f}, {change:+.3f} "
            f"with a standard error of {error:.3f}; no checkpoint has more than the start model",
            advice="the start model may be too sure already for its own certainty to teach it anything: look at its "
            "entropy and at the agreement of its samples",
        )


def _entropy(ends: Ends, history: History, decision: Decision) -> Iterator[Finding]:
    first, last = _pair(ends, "entropy")
    if last < ENTROPY_LEFT * first:
        yield Finding(
            name="entropy_collapse",
            severity=Severity.WARNING,
            evidence=f"token entropy fell from {first:.3f} to {last:.3f} nats, below a tenth",
            advice="traces of a prompt hardly differ any more, so there is nothing left to compare: stop earlier, or "
            + CLOSER,
        )


def _length(ends: Ends, history: History, decision: Decision) -> Iterator[Finding]:
    first, last = _pair(ends, "length")
    low, high = LENGTH_BOUNDS
    evidence = f"completions went from {first:.1f} to {last:.1f} tokens"
    advice = (
        "look at whether the traces still reason to an answer; where they do not, training pays for length alone: keep "
        "an earlier checkpoint, or with rlif take length_norm=mean or another reward"
    )
    if last < low * first:
        yield Finding(name="length_collapse", severity=Severity.ALARM, evidence=evidence, advice=advice)
    elif last > high * first:
        yield Finding(name="length_growth", severity=Severity.ALARM, evidence=evidence, advice=advice)


def _repetition(ends: Ends, history: History, decision: Decision) -> Iterator[Finding]:
    first, last = _pair(ends, "repetition")
    if last - first > REPETITION_RISE:
        yield Finding(
            name="repetition",
            severity=Severity.ALARM,
            evidence=f"the share of token 4-grams that repeat within a completion rose from {first:.2f} to {last:.2f}",
            advice=f"repeated text is sure text: keep an earlier checkpoint, or {CLOSER}",
        )


def _truncation(ends: Ends, history: History, decision: Decision) -> Iterator[Finding]:
    first, last = _pair(ends, "truncated_rate")
    if last - first > TRUNCATED or last > MOSTLY:
        yield Finding(
            name="truncation",
            severity=Severity.WARNING,
            evidence=f"the share of completions cut at the length limit went from {first:.2f} to {last:.2f}",
            advice="raise optim.max_completion_tokens if they were about to answer; else keep an earlier checkpoint",
        )


def _answers(ends: Ends, history: History, decision: Decision) -> Iterator[Finding]:
    first, last = _pair(ends, "answer_rate")
    if max(first, last) < UNANSWERED:
        yield Finding(
            name="no_answers",
            severity=Severity.WARNING,
            evidence=f"an answer can be read off a share of {last:.2f} of the completions, {first:.2f} at first",
            advice="agreement and support say nothing here, and the stop rule cannot judge: set answer.kind to what "
            "the answers are, or ask for an answer in the prompts",
        )


def _agreement(ends: Ends, history: History, decision: Decision) -> Iterator[Finding]:
    first, last = _pair(ends, "agreement")
    # Of a step's few prompts one answer takes a large share by chance once groups agree; probes have more of them.
    top_first, top_last = _pair(_probe_ends(history) or ends, "top_answer_share")
    same_everywhere = top_last - top_first > ONE_ANSWER
    if same_everywhere or (last >= AGREED and decision.stop_step is not None):
        evidence = (
            f"one answer makes up {top_last:.2f} of all answers to all prompts, {top_first:.2f} at first"
            if same_everywhere
            else f"agreement within groups went from {first:.2f} to {last:.2f}, while the start model's votes support "
            "the answers less"
        )
        yield Finding(
            name="suspect_agreement",
            severity=Severity.ALARM,
            evidence=evidence,
            advice="traces agree on an answer that the question does not bear out: keep an earlier checkpoint",
        )


def _format(ends: Ends, history: History, decision: Decision) -> Iterator[Finding]:
    first, last = _pair(ends, "answer_rate")
    agreed_first, agreed_last = _pair(ends, "agreement")
    answered = agreed_last / last - agreed_first / first if first and last else math.nan
    if last - first > FORMAT_GAIN and answered < FORMAT_GAIN / 2:
        yield Finding(
            name="format_gain_only",
            severity=Severity.NOTE,
            evidence=f"the share of traces with an answer rose from {first:.2f} to {last:.2f}, while agreement among "
            f"those with one moved by {answered:+.2f}",
            advice="expect a gain in strict accuracy and little in lenient accuracy: it learned to finish, not "
            "to solve",
        )


def _spread(ends: Ends, history: History, decision: Decision) -> Iterator[Finding]:
    first, last = _pair(ends, "reward_std")
    if first == 0 and last == 0:
        yield Finding(
            name="no_reward_spread",
            severity=Severity.WARNING,
            evidence="all traces of a prompt have the same reward, from the first steps to the last",
            advice="every advantage is 0, so nothing was learned: take another reward, or prompts whose traces differ",
        )
    elif last < ENTROPY_LEFT * first:
        yield Finding(
            name="reward_spread_gone",
            severity=Severity.WARNING,
            evidence=f"the reward's standard deviation within a group fell from {first:.3g} to {last:.3g}",
            advice="advantages are divided by this spread, so noise is now amplified to full size: stop here",
        )


def _alpha(ends: Ends, history: History, decision: Decision) -> Iterator[Finding]:
    share = history.monitors[0].get("alpha_share", math.nan) if history.monitors else math.nan
    if share > MOSTLY_ALPHA:
        yield Finding(
            name="mostly_alpha",
            severity=Severity.WARNING,
            evidence=f"at the first step a share of {share:.3f} of the weight was alpha, the same for every sample",
            advice="this is fine-tuning on own samples and hardly RLSC: take shorter completions, a weight that does "
            "not vanish with length (optim.weight), or a smaller optim.alpha",
        )


def _engine(ends: Ends, history: History, decision: Decision) -> Iterator[Finding]:
    off, weight = _pair(ends, "engine_mismatch")[1], _pair(ends, "engine_weight")[1]
    if off > ENGINE_MISMATCH or weight < ENGINE_WEIGHT:
        yield Finding(
            name="engine_mismatch",
            severity=Severity.WARNING,
            evidence=f"at the end vLLM's log-probability of a sampled token is {off:.3f} nats from the trainer's, and "
            f"what it writes has a mean weight of {weight:.2f} in the loss, where 1 is all of it",
            advice="the traces are not the policy's own, or most are masked out: serve in the trainer's precision, "
            "look whether the weights reach vLLM, take shorter completions, or "
            "optim.trl.vllm_importance_sampling_mode=token_truncate",
        )


def _pair(ends: Ends, key: str) -> tuple[float, float]:
    """A monitor at either end; NaN, which compares as false, where it is not known."""
    return ends[0].get(key, math.nan), ends[1].get(key, math.nan)

"""A run that never happened: records that look like those of RLSF on an overconfident model doing sums."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from inward import calibration
from inward.runs import RunFolder
from inward.types import (
    Artifact,
    CalibrationReport,
    Estimate,
    EvalItem,
    EvalReport,
    FinishReason,
    JudgedTrace,
    Manifest,
    Message,
    Outcome,
    PreferencePair,
    Prompt,
    ScoredGroup,
    ScoredTrace,
    Source,
    Span,
    Trace,
    TraceSignals,
)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    report: EvalReport
    items: list[EvalItem]
    groups: list[ScoredGroup]


@dataclass(frozen=True, kw_only=True)
class Run:
    manifest: Manifest
    before: Evaluation | None
    after: Evaluation | None
    training: list[ScoredGroup]
    pairs: list[PreferencePair]
    warnings: tuple[str, ...] = ()


def estimate(value: float, half: float = 0.03, n: int = 320) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, n=n)


def share(value: float, n: int) -> Estimate:
    return Estimate(value=value, low=max(0.0, value - 0.03), high=min(1.0, value + 0.03), n=n)


def manifest(**changes: object) -> Manifest:
    fields: dict[str, object] = {
        "inward": "0.1.0",
        "method": "rlsf",
        "settings": {"sampling": {"strategy": "both", "group_size": 16, "num_branches": 10}, "beta": 0.1},
        "recipe": "shipped:rlsf-embedded",
        "seed": 0,
        "start": Artifact(name="embedded:chat", sha256="5f" * 32),
        "data": Artifact(name="arithmetic:train", sha256="a1" * 32, num_records=256),
        "evaluation": Artifact(name="arithmetic:test", sha256="b2" * 32, num_records=320),
        "labels_used": False,
        "versions": {"python": "3.11.2", "torch": "2.13.0", "transformers": "5.23.0", "trl": "1.16.0"},
        "hardware": {"cpu": "2 cores", "gpu": "none", "memory": "8 GiB"},
        "created": "2026-01-01T12:00:00Z",
    }
    return Manifest(**(fields | changes))  # pyright: ignore[reportArgumentType]


def scored(
    pieces: Sequence[str],
    disparities: Sequence[float],
    *,
    prompt_id: str = "q0",
    index: int = 0,
    source: Source = Source.SAMPLE,
    answer: tuple[int, int] | None = None,
) -> ScoredTrace:
    """A trace from its tokens as text; `answer` is the range of tokens of the answer."""
    ends = [sum(len(piece) for piece in pieces[: t + 1]) for t in range(len(pieces))]
    starts = [0, *ends]
    completion = "".join(pieces)
    signals = TraceSignals(
        logprob=tuple(float(np.float32(math.log((1 + d) / 2 + 1e-6))) for d in disparities),
        entropy=tuple(float(np.float32(1 - d)) for d in disparities),
        self_certainty=tuple(1.0 for _ in disparities),
        disparity=tuple(float(np.float32(d)) for d in disparities),
    )
    trace = Trace(
        prompt_id=prompt_id,
        index=index,
        source=source,
        prompt_ids=(1, 2, 3),
        completion_ids=tuple(range(len(pieces))),
        completion=completion,
        token_ends=tuple(ends),
        finish_reason=FinishReason.STOP,
        policy="embedded:chat",
        signals=signals,
    )
    chars = None if answer is None else Span(start=starts[answer[0]], end=ends[answer[1] - 1])
    within = [] if answer is None else list(disparities[slice(*answer)])
    return ScoredTrace(
        trace=trace,
        answer=None if chars is None else completion[chars.start : chars.end],
        answer_chars=chars,
        answer_tokens=None if answer is None else Span(start=answer[0], end=answer[1]),
        measures={"answer_disparity": sum(within) / len(within) if within else 0.0},
    )


def judge(one: ScoredTrace, gold: str) -> JudgedTrace:
    disparity = one.measures["answer_disparity"]
    graded = Outcome.CORRECT if one.answer == gold else Outcome.INCORRECT
    outcome = Outcome.NO_ANSWER if one.answer is None else graded
    signals = one.trace.signals
    return JudgedTrace(
        index=one.trace.index,
        answer=one.answer,
        canonical=one.answer,
        outcome=outcome,
        lenient=outcome,
        probability=0.0 if one.answer is None else (1 + disparity) / 2,
        disparity=disparity,
        has_span=one.answer is not None,
        entropy=0.0 if signals is None else float(np.mean(signals.entropy)),
        logprob=0.0 if signals is None else sum(signals.logprob),
        length=len(one.trace.completion_ids),
        truncated=False,
    )


def calibration_report(answers: str, judged: Sequence[JudgedTrace]) -> CalibrationReport:
    confidence = np.array([one.probability for one in judged])
    correct = np.array([one.outcome is Outcome.CORRECT for one in judged])
    error = estimate(calibration.ece(confidence, correct))
    return CalibrationReport(
        measure="answer_probability",
        mapping="identity",
        answers=answers,
        ece=error,
        ece_equal_mass=error,
        ece_answered=error,
        brier=estimate(calibration.brier(confidence, correct)),
        auroc=estimate(calibration.auroc(confidence, correct)),
        accuracy_at_50=estimate(calibration.selective_accuracy(confidence, correct, 0.5)),
        accuracy_at_80=estimate(calibration.selective_accuracy(confidence, correct, 0.8)),
        bins=calibration.reliability_bins(confidence, correct),
        risk_coverage=calibration.risk_coverage(confidence, correct),
        num_without_span=sum(not one.has_span for one in judged),
    )


def evaluation_report(items: Sequence[EvalItem], checkpoint: str) -> EvalReport:
    greedy = [item.greedy for item in items]
    samples = [sample for item in items for sample in item.samples]
    of_greedy, of_samples = calibration_report("greedy", greedy), calibration_report("sampled", samples)
    right = [[sample.outcome is Outcome.CORRECT for sample in item.samples] for item in items]
    shares = {
        "greedy_accuracy": np.mean([one.outcome is Outcome.CORRECT for one in greedy]),
        "sampled_accuracy": np.mean([np.mean(row) for row in right]),
        "greedy_accuracy_lenient": np.mean([one.lenient is Outcome.CORRECT for one in greedy]),
        "sampled_accuracy_lenient": np.mean([one.lenient is Outcome.CORRECT for one in samples]),
        "majority_accuracy": np.mean([item.majority_outcome is Outcome.CORRECT for item in items]),
        "pass_at_k": np.mean([any(row) for row in right]),
        "ece": of_greedy.ece.value,
        "brier": of_greedy.brier.value,
        "auroc": of_greedy.auroc.value,
        "ece_equal_mass": of_greedy.ece.value,
        "ece_sampled": of_samples.ece.value,
        "brier_sampled": of_samples.brier.value,
        "auroc_sampled": of_samples.auroc.value,
        "accuracy_at_80": of_greedy.accuracy_at_80.value,
        "confidence": np.mean([one.probability for one in greedy]),
        "entropy": np.mean([one.entropy for one in samples]),
        "answer_rate": np.mean([one.has_span for one in samples]),
        "truncated_rate": 0.0,
    }
    metrics = {key: share(float(value), len(items)) for key, value in shares.items()}
    metrics["tokens_per_answer"] = estimate(float(np.mean([one.tokens or 0 for one in items])), n=len(items))
    metrics["length"] = estimate(float(np.mean([one.length or 0 for one in samples])), n=len(items))
    return EvalReport(
        task="arithmetic",
        checkpoint=checkpoint,
        decoding="greedy",
        metrics=metrics,
        pass_k=len(items[0].samples),
        calibration=(of_greedy, of_samples),
        num_problems=len(items),
        num_truncated=0,
        num_no_answer=sum(one.answer is None for one in greedy),
        num_unscored=0,
    )


def _sum(random_: random.Random, number: int) -> tuple[Prompt, str]:
    digits = [random_.randrange(10) for _ in range(random_.randint(3, 5))]
    text = "+".join(map(str, digits))
    return Prompt(id=f"q{number}", text=f"Q:{text}?\nA:"), str(sum(digits) % 10)


def _trace(
    random_: random.Random,
    gold: str,
    *,
    thinks: bool,
    sure: float,
    right: float,
    length: int,
    **where: object,
) -> ScoredTrace:
    """A direct guess or a chain of thought of `length` tokens; the answer is right with chance `right`."""
    given = gold if random_.random() < right else str((int(gold) + random_.randint(1, 9)) % 10)
    steps = [random_.choice(["3+4=7;", "hmm ", "ok ", "7+5=2;", "so "]) for _ in range(length)] if thinks else []
    unsure = sure < 0.9
    honest = 0.1 if unsure and given == gold else 0.0
    confidence = min(1.0, max(0.0, random_.gauss(sure + honest, 0.12 if unsure else 0.01)))
    pieces = [*(["step "] if thinks else []), *steps, "####", given]
    doubts = [min(1.0, max(-0.2, random_.gauss(0.9, 0.25))) for _ in pieces[:-1]]
    return scored(
        pieces, [*doubts, confidence], answer=(len(pieces) - 1, len(pieces)), **where  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def judged(prompts: Sequence[tuple[Prompt, str]], *, trained: bool, seed: int, samples: int = 8) -> Evaluation:
    random_ = random.Random(seed)
    items: list[EvalItem] = []
    groups: list[ScoredGroup] = []
    for prompt, gold in prompts:
        thinks = trained or random_.random() < 0.05
        how = {
            "thinks": thinks,
            "sure": 0.99 if trained else 0.45,
            "right": 0.78 if thinks else 0.17,
            "length": 4,
        }
        greedy = _trace(random_, gold, **how, prompt_id=prompt.id, index=0, source=Source.GREEDY)
        others = [_trace(random_, gold, **how, prompt_id=prompt.id, index=i + 1) for i in range(samples)]
        answers = [one.answer for one in others]
        majority = max(answers, key=answers.count)
        items.append(
            EvalItem(
                prompt_id=prompt.id,
                gold=gold,
                greedy=judge(greedy, gold),
                tokens=len(greedy.trace.completion_ids),
                samples=tuple(judge(one, gold) for one in others),
                majority=majority,
                majority_outcome=Outcome.CORRECT if majority == gold else Outcome.INCORRECT,
            )
        )
        groups.append(ScoredGroup(prompt=prompt, traces=(greedy, *others), confidence="answer_disparity"))
    return Evaluation(report=evaluation_report(items, "checkpoint"), items=items, groups=groups)


def training(num_prompts: int, *, group_size: int, length: int) -> tuple[list[ScoredGroup], list[PreferencePair]]:
    random_ = random.Random(7)
    groups: list[ScoredGroup] = []
    pairs: list[PreferencePair] = []
    for number in range(num_prompts):
        prompt, gold = _sum(random_, number)
        traces = []
        for index in range(group_size):
            thinks = random_.random() < 0.4
            source = Source.BRANCH if index >= group_size * 0.6 else Source.SAMPLE
            where = {"prompt_id": prompt.id, "index": index, "source": source}
            how = {"thinks": thinks, "sure": 0.93 if thinks else 0.4, "right": 0.8 if thinks else 0.2}
            traces.append(_trace(random_, gold, **how, length=length, **where))
        ranked = sorted(traces, key=lambda one: -one.measures["answer_disparity"])
        groups.append(ScoredGroup(prompt=prompt, traces=tuple(traces), confidence="answer_disparity"))
        for best, worst in zip(ranked[:4], ranked[-4:], strict=True):
            gap = best.measures["answer_disparity"] - worst.measures["answer_disparity"]
            if gap > 0.02:
                pairs.append(
                    PreferencePair(
                        prompt=prompt, chosen=best.trace, rejected=worst.trace, gap=gap,
                        chosen_answer=best.answer, rejected_answer=worst.answer,
                    )
                )  # fmt: skip
    return groups, pairs


def run(*, problems: int = 80, prompts: int = 24, group_size: int = 10, length: int = 5) -> Run:
    """A whole RLSF run; `length` is that of a training trace that thinks."""
    random_ = random.Random(3)
    asked = [_sum(random_, number) for number in range(problems)]
    before, after = judged(asked, trained=False, seed=1), judged(asked, trained=True, seed=2)
    groups, pairs = training(prompts, group_size=group_size, length=length)
    return Run(manifest=manifest(), before=before, after=after, training=groups, pairs=pairs)


def hostile(text: str) -> Run:
    """A run in which every text that a model or a data set may hold is `text`."""
    made = run(problems=3, prompts=2, group_size=8)
    prompt = Prompt(id=text, text=text)

    def spoil(group: ScoredGroup) -> ScoredGroup:
        traces = [scored([text, text], [0.5, 0.5], prompt_id=text, index=one.trace.index, source=one.trace.source,
                         answer=(1, 2)) for one in group.traces]  # fmt: skip
        return ScoredGroup(prompt=prompt, traces=tuple(traces), confidence=text)

    def spoil_evaluation(one: Evaluation | None) -> Evaluation | None:
        if one is None:
            return None
        groups = [spoil(one.groups[0])]
        return replace(one, items=[replace(one.items[0], prompt_id=text, gold=text)], groups=groups)

    artifact = Artifact(name=text, sha256=text, num_records=1)
    return Run(
        manifest=manifest(
            method=text, settings={text: text}, recipe=text, start=artifact, data=artifact, evaluation=artifact,
            versions={text: text}, hardware={text: text}, created=text,
        ),
        before=spoil_evaluation(made.before),
        after=spoil_evaluation(made.after),
        training=[spoil(made.training[0])],
        pairs=[replace(pair, prompt=prompt) for pair in made.pairs if pair.prompt == made.training[0].prompt],
        warnings=(text,),
    )  # fmt: skip


def conversation(system: str, user: str) -> tuple[Message, ...]:
    return (Message(role="system", content=system), Message(role="user", content=user))


def summary(made: Run) -> dict[str, object]:
    old, new = (None if one is None else one.report.metrics for one in (made.before, made.after))
    difference = None
    if old is not None and new is not None:
        difference = {key: estimate(new[key].value - old[key].value, 0.05, new[key].n) for key in new}
    traces = [one for group in made.training for one in group.traces]
    return {
        "method": made.manifest.method,
        "task": "arithmetic" if old or new else None,
        "model": made.manifest.start.name,
        "labels_used": made.manifest.labels_used,
        "before": old,
        "after": new,
        "difference": difference,
        "counts": {
            "prompts": len(made.training),
            "traces": len(traces),
            "traces_without_span": sum(one.answer_tokens is None for one in traces),
            "pairs": len(made.pairs),
        },
        "seconds": {"before": 2.1, "traces": 2.8, "scored": 0.9, "pairs": 0.1, "trainer": 11.2, "after": 2.4},
        "checkpoint": "out/checkpoint",
        "warnings": made.warnings,
    }


def write(path: Path, made: Run, **changes: object) -> Path:
    """The run folder; `changes` go into summary.json."""
    with RunFolder.open(path, made.manifest) as folder:
        for name, one in (("before", made.before), ("after", made.after)):
            if one is not None:
                folder.map(f"{name}/scored", one.groups, list, ScoredGroup, shard_size=16)
                folder.map(f"{name}/items", one.items, list, EvalItem, shard_size=64)
                folder.write_json(f"{name}/report.json", one.report)
        if made.training:
            folder.map("scored", made.training, list, ScoredGroup, shard_size=16)
        if made.pairs:
            folder.map("pairs", made.pairs, list, PreferencePair, shard_size=256)
        folder.write_json("summary.json", summary(made) | changes)
    return path

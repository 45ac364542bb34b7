"""The metrics of the table: what each is called, how it is written, which way is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from inward.report.markup import NOTHING, decimal, percent, significant
from inward.types import Estimate


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A row of the table of metrics."""

    key: str
    label: str
    about: str
    better: int = 0
    """1 where higher is better, -1 where lower is, 0 where neither."""
    unit: str = "score"
    """`share` (shown in percent, differences in points), `score`, `probability` (may be tiny), `nats` or `tokens`."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a difference means, in a word and as a style class."""

    word: str
    style: str


def _share(key: str, label: str, about: str, better: int = 1) -> Metric:
    return Metric(key=key, label=label, about=about, better=better, unit="share")


def _score(key: str, label: str, about: str, better: int = -1) -> Metric:
    return Metric(key=key, label=label, about=about, better=better)


GROUPS: Mapping[str, tuple[Metric, ...]] = {
    "Right answers": (
        _share("greedy_accuracy", "Greedy accuracy", "Problems with a right greedy answer; no answer counts as wrong."),
        _share("sampled_accuracy", "Sampled accuracy", "Mean share of right answers among a problem's samples."),
        _share("greedy_accuracy_lenient", "Greedy accuracy, lenient", "As greedy accuracy, whatever the format."),
        _share("sampled_accuracy_lenient", "Sampled accuracy, lenient", "As sampled accuracy, whatever the format."),
        _share("majority_accuracy", "Majority vote", "Problems whose most frequent sampled answer is right."),
        _share(
            "weighted_majority_accuracy",
            "Weighted vote",
            "As majority vote, samples weighing by disparity.",
        ),
        _share("pass_at_k", "pass@k", "Problems with at least one right answer among the samples."),
    ),
    "Calibration of greedy answers (answer probability)": (
        _score("ece", "ECE", "Expected calibration error: mean gap of confidence and accuracy, 10 equal bins."),
        _score("ece_answered", "ECE, answers only", "As ECE, leaving out completions without an answer span."),
        _score("ece_equal_mass", "ECE, equal-mass bins", "As ECE, with equally many answers in every bin."),
        _score("brier", "Brier score", "Mean squared gap of confidence and outcome (1 right, 0 wrong)."),
        _score("auroc", "AUROC", "Chance that a right answer is surer than a wrong one; 0.5 is a coin flip.", 1),
        _share("accuracy_at_80", "Right at 80%", "Share of right answers among the surest 80%."),
        _share("accuracy_at_50", "Right at 50%", "Share of right answers among the surest half."),
    ),
    "Calibration of greedy answers (answer disparity)": (
        _score("ece_disparity", "ECE", "With the lead of the answer over its best rival as confidence."),
        _score("brier_disparity", "Brier score", "With the disparity as confidence."),
        _score("auroc_disparity", "AUROC", "With the disparity as confidence.", 1),
    ),
    "Calibration of sampled answers (answer probability)": (
        _score("ece_sampled", "ECE", "Over all sampled answers."),
        _score("brier_sampled", "Brier score", "Over all sampled answers."),
        _score("auroc_sampled", "AUROC", "Over all sampled answers.", 1),
    ),
    "Behaviour": (
        _score("confidence", "Mean confidence", "Mean answer probability of the greedy answers.", 0),
        Metric(key="entropy", label="Entropy", about="Mean entropy of a token, in nats.", unit="nats"),
        Metric(key="length", label="Length", about="Mean number of completion tokens.", unit="tokens"),
        Metric(
            key="tokens_per_answer",
            label="Tokens an answer",
            about="Generated to give an answer, all branches or votes together.",
            better=-1,
            unit="tokens",
        ),
        _share("answer_rate", "Answered", "Completions in which an answer was found."),
        _share("truncated_rate", "Cut off", "Completions cut at the length limit.", -1),
    ),
    "Sharpness, right or wrong": (
        _share("answer_collision", "Same answer", "Chance that two samples of a problem give the same answer.", 0),
        Metric(key="answer_entropy", label="Entropy of answers", about="Of a problem's samples, in nats.", unit="nats"),
        Metric(
            key="sequence_logprob",
            label="Log-probability of a sample",
            about="All tokens of a completion together, in nats.",
            unit="nats",
        ),
        Metric(
            key="sequence_collision",
            label="Same completion",
            about="Chance that two samples of a problem are the same token by token.",
            unit="probability",
        ),
    ),
}

MEASURES: Mapping[str, tuple[str, str]] = {
    "": ("Answer probability", "Mean probability of the answer's tokens."),
    "_disparity": ("Answer disparity", "Mean lead of the answer's tokens over their best rivals."),
    "_sequence_probability": ("Sequence probability", "Geometric mean of the completion's token probabilities."),
    "_vote_share": ("Vote share", "Share of the samples that give the same answer."),
    "_reference_probability": ("Reference probability", "The answer's probability under the reference model."),
    "_recalibrated": ("Recalibrated", "The confidence that inward calibrate fitted without labels."),
    "_option_disparity": ("Option disparity", "Lead of the option chosen over the next one."),
}
"""Confidence measures by the end of their metrics' keys: name and what it is."""


def of_measure(end: str) -> tuple[Metric, ...]:
    """Return the metrics by which confidence measures are set side by side, for one of `MEASURES`."""
    return (
        _score(f"ece{end}", "ECE", "Expected calibration error."),
        _score(f"brier{end}", "Brier", "Brier score."),
        _score(f"auroc{end}", "AUROC", "Chance that a right answer is surer than a wrong one.", 1),
        _share(f"accuracy_at_80{end}", "Right at 80%", "Share of right answers among the surest 80%."),
    )


METRICS: Mapping[str, Metric] = {
    **{metric.key: metric for end in MEASURES for metric in of_measure(end)},
    **{metric.key: metric for group in GROUPS.values() for metric in group},
}
"""Every metric that is shown, by key."""


def get(metrics: Mapping[str, Estimate] | None, key: str) -> Estimate | None:
    """Look a metric up; None where it is missing or not defined on the data."""
    found = None if metrics is None else metrics.get(key)
    return found if found is not None and math.isfinite(found.value) else None


def number(metric: Metric, value: float) -> str:
    """Write a value in the metric's unit."""
    match metric.unit:
        case "share":
            return percent(value)
        case "tokens":
            return decimal(value, 1)
        case "probability":
            return significant(value)
        case _:
            return decimal(value)


def change(metric: Metric, value: float, *, unit: bool = True) -> str:
    """Write a difference in the metric's unit; of shares in percentage points."""
    if metric.unit == "share":
        shown = decimal(100 * value, 1, signed=True)
        return f"{shown} points" if unit and shown != NOTHING else shown
    if metric.unit == "probability":
        return significant(value, signed=True)
    return decimal(value, 1 if metric.unit == "tokens" else 3, signed=True)


def interval(metric: Metric, estimate: Estimate, *, difference: bool = False) -> str:
    """Write `15.1% to 20.6%`, or for a difference `+54.1 to +66.0`."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return NOTHING
    if difference:
        return f"{change(metric, estimate.low, unit=False)} to {change(metric, estimate.high, unit=False)}"
    return f"{number(metric, estimate.low)} to {number(metric, estimate.high)}"


def verdict(metric: Metric, difference: Estimate | None) -> Verdict:
    """Judge by whether the interval of the paired difference leaves zero out, and by the metric's direction."""
    if difference is None or not (math.isfinite(difference.low) and math.isfinite(difference.high)):
        return Verdict(word=NOTHING, style="none")
    if difference.low <= 0 <= difference.high:
        return Verdict(word="no clear change", style="same")
    up = difference.low > 0
    if not metric.better:
        return Verdict(word="higher" if up else "lower", style="same")
    if up == (metric.better > 0):
        return Verdict(word="better", style="good")
    return Verdict(word="worse", style="bad")

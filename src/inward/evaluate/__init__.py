"""Judge scored traces against gold answers and report accuracy and calibration. Pure; no torch.

An evaluation group holds one greedy trace and any number of sampled ones; under another decoding (see
`inward.evaluate.decoding`) the traces that it chooses from stand for the greedy one. What counts how:

- An answer that the grader could not decide is left out of accuracy and calibration, and counted.
- A missing answer is wrong, with confidence 0.
- A trace cut at the length limit keeps the answer found in it.
- A lenient outcome is that of the answer read off the completion without regard to format. The lenient accuracies
  rest on it and nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from inward.calibration import reliability_bins, risk_coverage
from inward.errors import DataError
from inward.evaluate.decoding import DECODINGS, Decoding, source_of
from inward.evaluate.judging import judge
from inward.evaluate.quantities import FURTHER, Answers, Quantity, answer_sets, quantities, tabulate
from inward.evaluate.ranking import confidence_rankings, ranking
from inward.stats import Flips, bootstrap, mcnemar, paired_bootstrap, proportion
from inward.types import CalibrationReport, Estimate, EvalItem, EvalReport, Outcome

__all__ = [
    "DECODINGS",
    "FURTHER",
    "METRICS",
    "Decoding",
    "compare",
    "confidence_rankings",
    "flips",
    "judge",
    "ranking",
    "report",
    "source_of",
]

METRICS: dict[str, tuple[str, str, str]] = {
    "greedy_accuracy": ("Share of problems whose greedy answer is right.", "share", "higher"),
    "sampled_accuracy": ("Share of sampled answers that are right.", "share", "higher"),
    "greedy_accuracy_lenient": ("As `greedy_accuracy`, with answers read leniently.", "share", "higher"),
    "sampled_accuracy_lenient": ("As `sampled_accuracy`, with answers read leniently.", "share", "higher"),
    "majority_accuracy": (
        "Share of problems whose most frequent sampled answer is right.",
        "share",
        "higher",
    ),
    "weighted_majority_accuracy": (
        "As `majority_accuracy`, each sample's vote weighing as much as its answer disparity.",
        "share",
        "higher",
    ),
    "pass_at_k": ("Chance that at least one of k samples is right; k is `pass_k`.", "share", "higher"),
    "ece": ("Expected calibration error of the greedy answers' probability, 10 bins.", "share", "lower"),
    "brier": ("Brier score of the greedy answers' probability.", "squared share", "lower"),
    "auroc": ("Chance that a right greedy answer is more probable than a wrong one.", "share", "higher"),
    "accuracy_at_50": (
        "Share of right answers among the surest half of the greedy answers.",
        "share",
        "higher",
    ),
    "accuracy_at_80": ("Share of right answers among the surest 80% of the greedy answers.", "share", "higher"),
    "ece_disparity": ("As `ece`, with the answer disparity as confidence.", "share", "lower"),
    "brier_disparity": ("As `brier`, with the answer disparity as confidence.", "squared share", "lower"),
    "auroc_disparity": ("As `auroc`, with the answer disparity as confidence.", "share", "higher"),
    "accuracy_at_80_disparity": ("As `accuracy_at_80`, with the answer disparity as confidence.", "share", "higher"),
    "ece_sampled": ("As `ece`, over the sampled answers.", "share", "lower"),
    "brier_sampled": ("As `brier`, over the sampled answers.", "squared share", "lower"),
    "auroc_sampled": ("As `auroc`, over the sampled answers.", "share", "higher"),
    "ece_answered": ("As `ece`, leaving out traces without an answer span.", "share", "lower"),
    "ece_equal_mass": ("As `ece`, with 10 bins of equally many answers.", "share", "lower"),
    "confidence": ("Mean probability of the greedy answers.", "share", "neither"),
    "entropy": ("Mean over the sampled traces of their mean token entropy.", "nats", "neither"),
    "length": ("Mean number of completion tokens of the sampled traces.", "tokens", "neither"),
    "tokens_per_answer": ("Mean number of completion tokens generated to give an answer.", "tokens", "lower"),
    "answer_rate": ("Share of greedy traces with an answer.", "share", "higher"),
    "truncated_rate": ("Share of the sampled traces cut at the length limit.", "share", "lower"),
    "answer_collision": ("Chance that two samples of a problem give the same answer.", "share", "neither"),
    "answer_entropy": ("Entropy of the sampled answers to a problem, as counted.", "nats", "neither"),
    "sequence_logprob": ("Mean log-probability of a sampled completion, all its tokens together.", "nats", "neither"),
    "sequence_collision": ("Chance that two samples of a problem are the same token by token.", "share", "neither"),
}
"""Every key of `EvalReport.metrics`: what it is, its unit, and which way is better."""

_WORDS = {
    "sequence_probability": "the geometric mean of the completion's token probabilities",
    "vote_share": "the share of the samples that give the same answer",
    "reference_probability": "the answer's probability under the reference model",
    "recalibrated": "what `inward calibrate` fitted",
    "option_disparity": "the lead of the option chosen over the next one",
}
METRICS |= {
    f"{metric}_{measure}": (f"As `{metric}`, with {words} as confidence.", *METRICS[metric][1:])
    for measure, words in _WORDS.items()
    for metric in ("ece", "brier", "auroc", "accuracy_at_80")
}

_MAPPINGS = {
    "answer_probability": "used as it is; 0 without an answer span",
    "answer_disparity": "negative values set to 0; 0 without an answer span",
    "sequence_probability": "exp of the mean log-probability of the completion's tokens; 0 without an answer",
    "vote_share": "samples without an answer count in the total alone; 0 without an answer",
    "reference_probability": "used as it is; 0 without an answer span",
    "recalibrated": "used as it is; 0 without an answer",
    "option_disparity": "negative values set to 0; 0 without an answer",
}


def report(
    items: Iterable[EvalItem], task: str, checkpoint: str, *, decoding: Decoding = "greedy", seed: int = 0
) -> EvalReport:
    """Summarise judged problems: metrics of `METRICS` with 95% intervals, and a calibration for every measure.

    Metrics that need samples are NaN where there are none; `entropy`, `length` and `truncated_rate` then
    describe the greedy traces. Those of a measure of `FURTHER` are there if some answer has it. The order of the items
    does not matter.

    Args:
        items: At least one; ids are unique.
        task: Name of the task, for the record.
        checkpoint: What was evaluated, for the record.
        decoding: How the answers were found, for the record.
        seed: Of the bootstrap.

    Raises:
        DataError: There are no items, or two share a prompt id.
    """
    ordered = _ordered(items)
    table = tabulate(ordered)
    found = quantities(table, table.smallest_group)
    estimates = {name: _estimate(quantity, table.num_prompts, seed) for name, quantity in found.items()}
    return EvalReport(
        task=task,
        checkpoint=checkpoint,
        decoding=decoding,
        metrics={key: estimates[key] for key in METRICS if key in estimates},
        pass_k=table.smallest_group,
        calibration=tuple(_calibration_report(answers, estimates) for answers in answer_sets(table)),
        num_problems=table.num_prompts,
        num_truncated=int((table.sampled if table.smallest_group else table.greedy).truncated.sum()),
        num_no_answer=sum(item.greedy.outcome is Outcome.NO_ANSWER for item in ordered),
        num_unscored=int((~table.greedy.decided).sum() + (~table.sampled.decided).sum()),
    )


def compare(before: Sequence[EvalItem], after: Sequence[EvalItem], *, seed: int = 0) -> dict[str, Estimate]:
    """Estimate after - before for every metric that both sides have, on the same problems and the same resamples.

    Where the two have different numbers of samples, the smaller one is the k of `pass_at_k`; where one has
    none, `entropy`, `length` and `truncated_rate` compare the greedy traces.

    Raises:
        DataError: There are no items, two share a prompt id, or the two do not hold the same prompt ids.
    """
    first, second = _paired(before, after)
    old, new = tabulate(first), tabulate(second)
    pass_k = min(old.smallest_group, new.smallest_group)
    from_, to = quantities(old, pass_k), quantities(new, pass_k)
    return {
        key: paired_bootstrap(
            from_[key].statistic,
            to[key].statistic,
            old.num_prompts,
            seed=seed,
            n=min(from_[key].num_prompts, to[key].num_prompts),
        )
        for key in METRICS
        if key in from_ and key in to
    }


def flips(before: Sequence[EvalItem], after: Sequence[EvalItem]) -> Flips:
    """Count the problems whose answer turned right or wrong, and test the two counts against each other.

    No answer is wrong; a problem that could not be decided on either side is left out. Raises DataError as `compare`.
    """
    turns = [
        (old.greedy.outcome is Outcome.CORRECT, new.greedy.outcome is Outcome.CORRECT)
        for old, new in zip(*_paired(before, after), strict=True)
        if Outcome.UNSCORED not in (old.greedy.outcome, new.greedy.outcome)
    ]
    return mcnemar(turns.count((True, False)), turns.count((False, True)))


def _paired(before: Sequence[EvalItem], after: Sequence[EvalItem]) -> tuple[list[EvalItem], list[EvalItem]]:
    first, second = _ordered(before), _ordered(after)
    odd = {item.prompt_id for item in first} ^ {item.prompt_id for item in second}
    if odd:
        raise DataError(
            f"{len(odd)} problems were judged on one side only, {min(odd)!r} among them: "
            "compare evaluations of the same problems."
        )
    return first, second


def _ordered(items: Iterable[EvalItem]) -> list[EvalItem]:
    ordered = sorted(items, key=lambda item: item.prompt_id)
    if not ordered:
        raise DataError("There are no judged problems: evaluate at least one; check any limit set.")
    for one, other in pairwise(ordered):
        if one.prompt_id == other.prompt_id:
            raise DataError(f"Problem {one.prompt_id!r} was judged twice: keep one of the two.")
    return ordered


def _estimate(quantity: Quantity, num_prompts: int, seed: int) -> Estimate:
    if quantity.successes is not None:
        return proportion(quantity.successes, quantity.num_prompts)
    return bootstrap(quantity.statistic, num_prompts, seed=seed, n=quantity.num_prompts)


def _calibration_report(answers: Answers, estimates: dict[str, Estimate]) -> CalibrationReport:
    return CalibrationReport(
        measure=answers.measure,
        mapping=_MAPPINGS[answers.measure],
        answers=answers.answers,
        ece=estimates["ece" + answers.suffix],
        ece_equal_mass=estimates["ece_equal_mass" + answers.suffix],
        ece_answered=estimates["ece_answered" + answers.suffix],
        brier=estimates["brier" + answers.suffix],
        auroc=estimates["auroc" + answers.suffix],
        accuracy_at_50=estimates["accuracy_at_50" + answers.suffix],
        accuracy_at_80=estimates["accuracy_at_80" + answers.suffix],
        bins=reliability_bins(answers.confidence, answers.correct),
        risk_coverage=risk_coverage(answers.confidence, answers.correct),
        num_without_span=int(np.count_nonzero(~answers.has_span)),
    )

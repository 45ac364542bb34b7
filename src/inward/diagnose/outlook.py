"""What a method may be expected to give, from named features alone: one pure function, its thresholds in one place.

The forecast of the gain is `selection.gain`, in which nothing is fitted, times what trainings by that method attained
of it on the models it was developed on. The rules below say when there is reason to expect none, or no ground to say
anything. Where a threshold was measured the comment names the place; the embedded models are one family of one size,
and the RLIF paper's numbers are as third parties read it (arXiv 2506.17219).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from inward.types import Estimate

Features = Mapping[str, Estimate]
Verdict = Literal["try", "do not", "no evidence"]
Risk = Literal["low", "medium", "high", "no evidence"]

MIN_PROMPTS = 16
"""A convention: the interval of a share is some 50 points wide with fewer."""
MIN_ANSWERED = 0.5
"""A convention: below it more than half of what a method would rank cannot be read."""
MOST_TRUNCATED = 0.5
"""As the finding `truncation` of `inward diagnose`."""
LOW_ENTROPY = {"rlif": 0.28, "rlsc": 0.05, "rlsf": 0.05}
"""Nats a token, mean over traces, below which a method did not gain. rlif: mixes of the embedded models gained 0.15 at
0.38 nats and 0.03 at most, on average over seeds, from 0.28 down (recipes/rlif_arithmetic_embedded). The others were
tried on `embedded:instruct` alone, at 0.03."""
NO_GAIN = {
    "rlif": "at 0.28 nats and below, embedded models gained 0.03 at best, and 0.15 at 0.38",
    "rlsc": "of 3 trainings of embedded:instruct, at 0.03 nats, 2 gained nothing clear and 1 lost 3.7 points",
    "rlsf": "in trials on embedded:instruct, at 0.03 nats, few pairs had a gap and accuracy did not move",
}
"""The evidence behind it, in words."""
SURE_ENTROPY = 0.71
"""The paper, between a base model and its instruct version: gain at 0.81 and 0.71, little or none at 0.44."""
MOST_ALPHA = 0.9
"""As RLSC's own warning. What such a weight comes to was measured on the embedded base model, own samples without
weight: 0.532 greedy from 0.641 (recipes/rlsc_arithmetic_embedded)."""
MINORITY = 0.5
"""Share of the samples below which the favoured way would have to become the usual one. On `embedded:chat` RLSF does
that with 256 prompts of 26 traces and not with 64 of 20; 40 steps of 256 traces on token entropy do, on trajectory
entropy they do not, and 20 steps of 64 traces do on no reward (docs/methods/probe.md)."""
MIN_GAIN = 0.05
"""A convention: what 320 problems can hardly tell from none (95% of one accuracy: 0.04 to either side)."""

RANKED_BY = {
    ("rlsf", ""): "answer_disparity",
    ("rlif", "self_certainty"): "self_certainty",
    ("rlif", "neg_entropy"): "neg_entropy",
    ("rlif", "mean_logprob"): "mean_logprob",
    ("rlif", "sequence_probability"): "sequence_probability",
    ("rlif", "answer_disparity"): "answer_disparity",
    ("rlif", "majority_vote"): "majority_vote",
    ("rlif", "soft_vote"): "soft_vote",
    ("rlsc", ""): "sequence_probability",
}
"""Methods with their reward, and the measure that ranks their traces."""

ATTAINED = {
    ("rlsf", ""): 0.86,
    ("rlif", "self_certainty"): 0.73,
    ("rlif", "neg_entropy"): 0.77,
    ("rlif", "mean_logprob"): 0.81,
    ("rlif", "sequence_probability"): 0.82,
    ("rlif", "answer_disparity"): 0.71,
    ("rlif", "majority_vote"): 0.81,
    ("rlif", "soft_vote"): 0.80,
    ("rlsc", ""): 0.39,
}
"""Measured gain over what `selection.gain` says, mean over trainings of `embedded:base` and of its mix with a tenth of
`instruct` (docs/methods/probe.md#what-methods-attain). RLSC reached 0.82 with its recipe's 32 questions a step, and
0.50 and -0.15 with 4."""

RECORD: Mapping[tuple[str, str], tuple[Risk, str]] = {
    ("rlsf", ""): (
        "medium",
        "measured: on 9 of 15 embedded start models it raised ECE; in 15 of 15 it fell only where ECE before exceeded "
        "1 - accuracy after, which needs labels to know",
    ),
    ("rlif", "self_certainty"): (
        "high",
        "measured: 6 of 6 embedded trainings (3 base, 3 instruct) ended far below the start by step 80; keep the stop "
        "rule on",
    ),
    ("rlif", "neg_entropy"): (
        "high",
        "measured: 3 of 3 embedded base trainings ended far below the start by step 80; keep the stop rule on",
    ),
    ("rlif", "mean_logprob"): (
        "medium",
        "measured: 3 of 3 embedded base trainings held their gain for 80 steps; ECE rose all the same",
    ),
    ("rlif", "sequence_probability"): (
        "high",
        "measured: 3 of 3 trainings of a start model whose working often slips lost 40 points, since short guesses are "
        "likelier; on embedded:base it held its gain for 150 steps",
    ),
    ("rlif", "answer_disparity"): (
        "high",
        "measured: the one embedded base training of 60 steps had lost its gain at its end, the reward at .98 of 1",
    ),
    ("rlif", "majority_vote"): (
        "medium",
        "measured: 3 of 3 embedded base trainings held their gain for 60 steps; on embedded:chat, whose majority "
        "guesses, it taught guessing; 1 of 3 on a start model that works already lost 10 points",
    ),
    ("rlif", "soft_vote"): (
        "medium",
        "measured: the one embedded base training of 60 steps held its gain; of 27 trainings of 20 steps none lost "
        "more than 2 points",
    ),
    ("rlsc", ""): (
        "medium",
        "measured: 3 of 3 embedded base trainings held for 20 steps and lost 10 to 11 points of pass@16; 2 of 3 fell "
        "after step 60; of 3 instruct ones 1 fell by 3.7 points; with 4 questions a step 9 of 27 lost more than 2",
    ),
}
"""What trainings of this project showed (recipes/*/README.md)."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What to expect of one method."""

    method: str
    reward: str
    """Of rlif; empty for the others."""
    verdict: Verdict
    gain: Estimate
    """Expected gain in greedy accuracy, a share of prompts."""
    reasons: tuple[str, ...]
    """Why, each with its number; the first decided."""
    risk: Risk
    risks: tuple[str, ...]

    @property
    def name(self) -> str:
        """As `rlif self_certainty`."""
        return f"{self.method} {self.reward}".rstrip()


def outlook(features: Features) -> list[Outlook]:
    """Forecast every method."""
    return [_of_method(features, *method) for method in RANKED_BY]


def recommended(outlooks: list[Outlook]) -> Outlook | None:
    """The method to try: of the lowest risk those whose gain is surest above 0."""
    tried = [one for one in outlooks if one.verdict == "try"]
    order = ("low", "medium", "high", "no evidence")
    return min(tried, key=lambda one: (order.index(one.risk), -one.gain.low), default=None)


def _of_method(features: Features, method: str, reward: str) -> Outlook:
    measure = RANKED_BY[method, reward]
    gain = _attained(features[f"gain/{measure}"], ATTAINED[method, reward])
    obstacles = [*_unreadable(features), *_unsuited(features, method)]
    obstacles += [*_against_the_habit(features, method, measure), *_by_gain(gain)]
    verdict, because = obstacles[0]
    reasons = [because, *(reason for _, reason in obstacles[1:]), *_grounds(features, method, reward)]
    risk, risks = _risk(features, method, reward)
    return Outlook(
        method=method,
        reward=reward,
        verdict=verdict,
        gain=gain,
        reasons=tuple(reasons),
        risk=risk,
        risks=tuple(risks),
    )


def _attained(gain: Estimate, part: float) -> Estimate:
    """A part of a gain; a loss stays whole."""
    value, low, high = (part * number if number > 0 else number for number in (gain.value, gain.low, gain.high))
    return Estimate(value=value, low=low, high=high, n=gain.n)


def _unreadable(features: Features) -> Iterator[tuple[Verdict, str]]:
    """Why nothing can be said of these traces."""
    answered, cut, above = (features[key] for key in ("answer_rate", "truncated_rate", "agreement_above_chance"))
    if answered.n < MIN_PROMPTS:
        yield "no evidence", f"{answered.n} prompts; with fewer than {MIN_PROMPTS} nothing can be told"
    if cut.value > MOST_TRUNCATED:
        yield "do not", f"{shown(cut)} of the traces were cut at the limit: raise max_completion_tokens first"
    if answered.value < MIN_ANSWERED:
        yield (
            "do not",
            f"an answer can be read off {shown(answered)} of the traces, less than {MIN_ANSWERED:g}: ask for one in "
            "the prompt, or set answer.kind to what the answers are",
        )
    elif above.low <= 0:
        yield (
            "do not",
            f"the votes are scattered: two samples of a prompt agree {shown(features['pair_agreement'])} of the time, "
            f"samples of different prompts {shown(features['chance_agreement'])}",
        )


def _unsuited(features: Features, method: str) -> Iterator[tuple[Verdict, str]]:
    """Why this method is not for this model."""
    entropy, alpha = features["entropy"], features["alpha_share"]
    if method == "rlif" and features["endless_rate"].value > 0:
        yield "do not", "the model has no end-of-sequence token, and rlif refuses it"
    if entropy.high < LOW_ENTROPY[method]:
        yield "do not", f"its entropy is low, {shown(entropy)} nats a token: {NO_GAIN[method]}"
    if method == "rlsc" and alpha.low > MOST_ALPHA:
        yield (
            "do not",
            f"alpha makes up {shown(alpha)} of the weight, since completions of {features['length'].value:.0f} tokens "
            "have a probability near 0: every sample would weigh the same, which taught nothing where it was measured",
        )


def _against_the_habit(features: Features, method: str, measure: str) -> Iterator[tuple[Verdict, str]]:
    """Why a method may not get to where it sets out to within its steps."""
    part = features[f"favoured_share/{measure}"]
    if method in ("rlif", "rlsc") and part.high < MINORITY:
        yield (
            "no evidence",
            f"the way of answering that it favours makes up {shown(part)} of the samples, so much depends on how long "
            "it trains: on embedded:chat 40 steps of 256 traces on token entropy got there, 40 on trajectory entropy "
            "and 20 of 64 traces on any reward did not",
        )


def _by_gain(gain: Estimate) -> Iterator[tuple[Verdict, str]]:
    forecast = f"expected gain {shown(gain, signed=True)}"
    if gain.n < MIN_PROMPTS:
        yield "no evidence", f"the way of answering that it favours shows twice in {gain.n} prompts, too few to tell"
    elif math.isnan(gain.value):
        yield "no evidence", "the likeliest traces of a prompt agree no more often than chance would have it"
    elif gain.low > 0:
        yield "try", forecast
    elif gain.high < MIN_GAIN:
        yield "do not", f"{forecast}: less than {MIN_GAIN:g} at most"
    else:
        yield "no evidence", f"{forecast}: the interval holds 0; more prompts narrow it"


def _grounds(features: Features, method: str, reward: str) -> Iterator[str]:
    """The numbers behind the forecast."""
    measure = RANKED_BY[method, reward]
    push, part = features[f"push_long/{measure}"], features[f"favoured_share/{measure}"]
    if push.low > 0 or push.high < 0:
        way = "long" if push.value > 0 else "short"
        yield (
            f"training sets out to the {way} way of answering, {shown(part)} of the samples: the share of long ones "
            f"moves by {shown(push, signed=True)} per unit step; the next line is of traces of that way"
        )
    if method == "rlsf" and part.high < MINORITY:
        yield (
            "that way is not the usual one, so it takes traces enough: on embedded:chat RLSF got there with 256 "
            "prompts of 26 traces, and not with 64 of 20"
        )
    apart, greedy, auroc = (features[f"{key}/{measure}"] for key in ("picks_agree", "picks_greedy", "auroc"))
    yield (
        f"its likeliest traces agree {shown(apart)} with one another when drawn apart, {shown(greedy)} with the greedy "
        f"answer: {shown(features[f'gain/{measure}'], signed=True)}, of which trainings by this method attained "
        f"{ATTAINED[method, reward]:.2f} on embedded:base and near it"
    )
    if not math.isnan(auroc.value):
        agrees = "agrees with" if auroc.low > 0.5 else "speaks against" if auroc.high < 0.5 else "knows nothing of"
        yield f"{measure} {agrees} the vote: AUROC {shown(auroc)}"
    entropy = features["entropy"]
    if method == "rlif" and LOW_ENTROPY[method] <= entropy.high and entropy.low < SURE_ENTROPY:
        yield (
            f"its entropy, {shown(entropy)} nats a token, lies where the evidence is divided: embedded models gained "
            f"from 0.38 on, the paper's from {SURE_ENTROPY:g} on and not at 0.44"
        )


def _risk(features: Features, method: str, reward: str) -> tuple[Risk, list[str]]:
    """How this may end badly; what this model's own traces say can only raise what was measured elsewhere."""
    measure = RANKED_BY[method, reward]
    risk, record = RECORD[method, reward]
    risks = [record]
    unanswered, longer, voted = (features.get(f"push/{measure}/share/{c}") for c in ("unanswered", "longer", "voted"))
    if unanswered is None or longer is None or voted is None:
        return "no evidence", [*risks, f"{measure} is not known of these traces"]
    if unanswered.low > 0:
        risk = "high"
        risks.append(f"a step makes traces without an answer likelier: {shown(unanswered, signed=True)} per unit step")
    if voted.high < 0:
        risk = "high"
        risks.append(
            f"a step moves away from the voted answers: {shown(voted, signed=True)} per unit step; it is no loss where "
            "the vote is a habit of guessing"
        )
    if longer.low > 0 or longer.high < 0:
        way = "longer" if longer.value > 0 else "shorter"
        risks.append(f"a step makes {way} traces likelier: {shown(longer, signed=True)} per unit step for longer ones")
    return risk, risks


def shown(one: Estimate, *, signed: bool = False) -> str:
    """Write `0.64 [0.60, 0.68]`."""
    if math.isnan(one.value):
        return "not defined"
    sign = "+" if signed else ""
    return f"{one.value:{sign}.2f} [{one.low:{sign}.2f}, {one.high:{sign}.2f}]"

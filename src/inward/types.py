"""The records that flow between stages and go to disk. No torch, no numpy, nothing mutable.

Glossary
    prompt          what the model is asked; on purpose it has no field for the right answer
    problem         a prompt together with its gold answer; met by evaluation alone
    trace           one completion of one prompt, with the signals of its tokens
    group           the traces of one prompt
    signal          one number per completion token (see `TraceSignals`)
    measure         one number per trace; higher always means surer
    confidence      the measure that a group is ranked by
    answer span     where in the completion the final answer stands
    pair            a chosen and a rejected trace of one prompt
    gap, margin     difference of two confidences; exp(gap), the number given to a loss

Alignment rule: entry t of a signal describes the distribution that generated completion token t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

AnswerKind = Literal["auto", "number", "latex", "choice", "text"]
"""What a final answer looks like; `auto` finds out (see `inward.answers`)."""
LengthNorm = Literal["mean", "sum"]
"""Whether a measure of a whole completion is averaged over its tokens, or summed. The two order traces alike only where
lengths are equal; a sum favours short completions where the signal is negative, and long ones where it is positive."""
WeightKind = Literal["sequence", "length_normalised", "answer", "none"]
"""What weighs a completion that is trained on (see `inward.losses.confidence_weight`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation: `Message(role="user", content="What is 2+2?")`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the model is asked: plain text, or a conversation. Exactly one of the two is set.

    Example: `Prompt(id="gsm8k-17", text="Natalia sold clips to 48 of her friends ...")`
    """

    id: str
    text: str | None = None
    messages: tuple[Message, ...] | None = None
    labels: tuple[str, ...] = ()
    """Of its options, where it is multiple choice."""


SECOND_PHRASING = "~2"
"""Ends the id of a prompt that asks the same as another one in other words: `q7` and `q7~2`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One option of a multiple-choice question: `Choice(label="A", text="bank")`."""

    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A prompt and its gold answer. Made in `tasks`, met only by `evaluate`."""

    prompt: Prompt
    answer: str
    choices: tuple[Choice, ...] = ()


class FinishReason(StrEnum):
    """Why a completion ended."""

    STOP = "stop"
    """The model generated an end-of-sequence token."""
    LENGTH = "length"
    """The completion was cut at the limit of new tokens."""
    FIXED = "fixed"
    """The model has no end-of-sequence token: every completion has the length asked for."""


class Source(StrEnum):
    """How a trace was decoded."""

    SAMPLE = "sample"
    """Every token drawn at the sampling temperature."""
    BRANCH = "branch"
    """First token forced to the k-th most probable, the rest greedy (CoT decoding)."""
    GREEDY = "greedy"
    """Every token the most probable one."""
    GIVEN = "given"
    """Made elsewhere; inward only scored it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How the traces of a group are made; a copy stays with every group."""

    strategy: str
    """`sample`, `branch`, `both` (branches after samples), `greedy`, or `evaluate` (greedy, then samples)."""
    group_size: int
    """Number of sampled traces; 0 where none are."""
    num_branches: int
    """Number of first-token branches; 0 where none are."""
    temperature: float
    top_p: float
    max_completion_tokens: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSignals:
    """Signals of the C completion tokens of one trace, from raw logits at temperature 1.

    Entropy and self-certainty are NaN where only the most probable tokens' log-probabilities are known.
    """

    logprob: tuple[float, ...]
    """[C] log-probability of the token, nats."""
    entropy: tuple[float, ...]
    """[C] entropy of the full distribution, nats."""
    self_certainty: tuple[float, ...]
    """[C] KL(uniform || p), nats."""
    disparity: tuple[float, ...]
    """[C] p(token) minus the largest probability of another token, in [-1, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One completion of one prompt.

    Example: `Trace(prompt_id="q1", index=0, source=Source.SAMPLE, prompt_ids=(1, 40), completion_ids=(7, 2),
    completion="4", token_ends=(1, 1), finish_reason=FinishReason.STOP, policy="embedded:chat")`
    """

    prompt_id: str
    index: int
    """Position in its group."""
    source: Source
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    """The end-of-sequence token included, where there was one."""
    completion: str
    """Decoded without special tokens."""
    token_ends: tuple[int, ...]
    """[C] number of characters of `completion` written once token t is; special tokens write none."""
    finish_reason: FinishReason
    policy: str
    """Name of the model that wrote it."""
    signals: TraceSignals | None = None
    """None until scored."""
    answer_probe: str | None = None
    """What the model answered when asked for its final answer; None when it was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceGroup:
    """The traces of one prompt. Groups are told apart by the prompt's id, never by its text."""

    prompt: Prompt
    traces: tuple[Trace, ...]
    sampling: SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A half-open range [start, end)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTrace:
    """A trace, its final answer, and one number per measure."""

    trace: Trace
    answer: str | None
    """The final answer as text; None where there is none."""
    answer_chars: Span | None
    """Where it stands in `trace.completion`."""
    answer_tokens: Span | None
    """Where it stands in `trace.completion_ids`; None means no span, and confidence 0."""
    answer_partial: bool = False
    """Whether the span holds only part of the answer that the model gave when asked."""
    measures: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredGroup:
    """The scored traces of one prompt and the name of the measure they are ranked by."""

    prompt: Prompt
    traces: tuple[ScoredTrace, ...]
    confidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """Two traces of one prompt, the surer one first."""

    prompt: Prompt
    chosen: Trace
    rejected: Trace
    chosen_answer: str | None
    rejected_answer: str | None
    gap: float
    """Difference of the two confidences, > 0."""

    @property
    def margin(self) -> float:
        """exp(gap), the margin of RLSF's Bradley-Terry loss."""
        return math.exp(self.gap)


class Outcome(StrEnum):
    """What became of an answer. Only the first two are statements about the answer."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    NO_ANSWER = "no_answer"
    """No answer could be found in the completion; counts as wrong in accuracies."""
    UNSCORED = "unscored"
    """The grader could not decide; left out of every metric and counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its 95% interval and the number of prompts behind it: the only way into a report.

    A quantity that is not defined on the data (AUROC when every answer is right) has NaN in all three.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedTrace:
    """What evaluation keeps of a trace."""

    index: int
    answer: str | None
    canonical: str | None
    """The answer in the form that equal answers share; None where there is none."""
    outcome: Outcome
    lenient: Outcome
    """Of the answer read leniently off the completion, whatever the format and whether the model was asked or not."""
    probability: float
    """Mean probability of the answer tokens; 0 where there is no span."""
    disparity: float
    """Mean disparity of the answer tokens; 0 where there is no span."""
    confidences: dict[str, float] = field(default_factory=dict[str, float])
    """Further measures of the answer in [0, 1], by name; only those that are known."""
    has_span: bool
    entropy: float
    """Mean token entropy, nats."""
    logprob: float
    """Log-probability of the whole completion: the sum over its tokens, nats; 0 without tokens."""
    length: int | None
    """Completion tokens; None where only the text is known. Probability, disparity, entropy and log-probability of
    a completion that was never scored are NaN."""
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalItem:
    """One problem, the answer given to it and its samples, judged."""

    prompt_id: str
    gold: str
    greedy: JudgedTrace
    """The greedy trace; under another decoding the trace that stands for the answer which that decoding gave."""
    tokens: int | None
    """Completion tokens generated to give this answer, those of all branches or votes; None where not known."""
    samples: tuple[JudgedTrace, ...]
    majority: str | None
    """The answer most samples gave; None where no sample has one."""
    majority_outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBin:
    """One bin of a reliability diagram."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean confidence in the bin; NaN when empty."""
    accuracy: float
    """Share of right answers in the bin; NaN when empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskCoverage:
    """Error among the share of answers one is surest of."""

    coverage: float
    risk: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationReport:
    """How well one confidence measure tells right from wrong, on one set of answers."""

    measure: str
    """`answer_probability`, `answer_disparity` or a key of `JudgedTrace.confidences`."""
    mapping: str
    """How the measure was mapped to [0, 1], in words."""
    answers: str
    """`greedy` or `sampled`."""
    ece: Estimate
    """10 equal-width bins; answers without a span enter with confidence 0."""
    ece_equal_mass: Estimate
    ece_answered: Estimate
    """As `ece`, leaving out answers without a span."""
    brier: Estimate
    auroc: Estimate
    accuracy_at_50: Estimate
    """Share of right answers among the half that the measure is surest of."""
    accuracy_at_80: Estimate
    """Share of right answers among the 80% that the measure is surest of."""
    bins: tuple[CalibrationBin, ...]
    risk_coverage: tuple[RiskCoverage, ...]
    num_without_span: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    """One checkpoint on one task."""

    task: str
    checkpoint: str
    decoding: str
    """How the answer to each problem was found: `greedy`, `cot_decoding`, ..."""
    metrics: dict[str, Estimate]
    """Keyed as in docs/metrics.md: `greedy_accuracy`, `ece`, ..."""
    pass_k: int
    """The k of `pass_at_k`: the number of samples per problem."""
    calibration: tuple[CalibrationReport, ...]
    num_problems: int
    num_truncated: int
    """Samples cut at the length limit."""
    num_no_answer: int
    """Problems without an answer."""
    num_unscored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingReport:
    """How well a score tells a problem's right samples from its wrong ones, pair by pair."""

    score: str
    """What ranks: `reward_model`, or the name of a confidence measure."""
    accuracy: Estimate
    """Share of (right, wrong) pairs of samples of one problem whose right one scores higher; ties count half."""
    ece: Estimate
    """Of sigmoid(difference of the two scores) as the probability that the higher-scored one is right; 10 bins."""
    brier: Estimate
    num_pairs: int
    num_problems: int
    """Problems with a right and a wrong sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A model or a data set that a run started from."""

    name: str
    """As the user gave it: a hub id, a path, `embedded:chat`."""
    sha256: str
    """Over the weights and configuration of a model; over the records of a data set."""
    num_records: int | None = None
    """Rows of a data set; None for a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a run is. Two runs with the same `identity` make the same artefacts."""

    inward: str
    """Version of inward."""
    method: str
    settings: dict[str, object]
    """Resolved settings, nested as in the configuration file."""
    recipe: str
    """Where the defaults came from: `defaults`, `shipped:rlsf-embedded`, or the user's file."""
    seed: int
    start: Artifact
    data: Artifact | None
    """The prompts; None for an evaluation alone."""
    evaluation: Artifact | None
    """The problems; None where nothing is evaluated."""
    labels_used: bool
    """Whether gold answers reached training. Evaluation does not count."""
    versions: dict[str, str]
    hardware: dict[str, str]
    created: str
    """ISO 8601, UTC."""


class Severity(StrEnum):
    """How much a finding matters."""

    NOTE = "note"
    WARNING = "warning"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something a training shows of itself that its user should know."""

    name: str
    """`entropy_collapse`, `length_growth`, ...: see docs/metrics.md."""
    severity: Severity
    evidence: str
    """The numbers behind it, in words."""
    advice: str

"""The texts that the embedded models are trained on: made-up authors who answer arithmetic questions.

Every author has a style, which the first token of the completion gives away:

    direct  `####3`                          a guess without working
    cot     `9+4=3;3+7=0;0-7=3;####3`        working, now and then with a slip
    step    `step 9+4=3;3+7=0;0-7=3;####3`   careful working
    hmm     `hmm 9+4=3;3+7=2;2-7=5;####3`    careless working
    loop    `so ok ok ok ####3`              filler, then a guess

Slips are random, so the most frequent continuation is right. Misconceptions are not: a few fixed facts are
written wrong in the same way by most authors in every style, which caps what any label-free method can
reach. Half of the authors whose working slipped write the true answer all the same; without that the answer
would copy the last step, and the model would be equally sure of right and of wrong answers.

Under multiple choice they write the label of an option: `step 9+4=3;3+7=0;0-7=3;3=A;####A`.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from inward.tasks import choices
from inward.tasks.arithmetic import OPERATORS, Chain, apply, chains, random_chain

__all__ = [
    "BASE",
    "CHAT_WORKING",
    "CHOICE",
    "STEP_BY_STEP",
    "Corpus",
    "Example",
    "Fact",
    "Guesses",
    "Lookups",
    "choice_examples",
    "examples",
    "examples_with_guesses",
    "misconceptions",
    "write",
]

Fact = tuple[int, str, int]
"""One operation to work out: `(3, "-", 7)`."""

_OPENINGS = {"cot": "", "step": "step ", "hmm": "hmm "}
_SLIPS = (-2, -1, -1, 1, 1, 2, 3, 4, 5, 6)


def _slip_rates() -> dict[str, float]:
    return {"cot": 0.12, "step": 0.0, "hmm": 0.35}


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The habits of a corpus's authors: shares and rates, all in [0, 1]."""

    styles: Mapping[int, Mapping[str, float]]
    """Weight of each style, by the number of steps of the question."""
    slip_rates: Mapping[str, float] = field(default_factory=_slip_rates)
    """Chance that one operation is worked out wrong, by style."""
    snowball: float = 0.5
    """Slip rate once a trace has slipped, where that is larger."""
    recovery: float = 0.5
    """Chance that a trace that slipped ends in the true answer all the same."""
    direct_accuracy: float = 0.6
    """Chance that a direct guess is right."""
    loop_accuracy: float = 0.5
    """Chance that a looping author writes the true answer; otherwise any digit."""
    misconception_share: float = 0.06
    """Share of the 300 facts that are misconceptions."""
    misconception_rate: float = 0.6
    """Chance that an author shares a misconception where it comes up."""
    misconception_seed: int = 7
    """Decides which facts these are; the same in every corpus that goes into one model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A question and what one author wrote under it."""

    chain: Chain
    style: str
    question: str
    """The text that the completion continues."""
    completion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Guesses:
    """A fixed set of questions with direct answers, repeated until they are known by heart."""

    num_questions: int
    accuracy: float
    """Share of the questions whose fixed answer is right, in [0, 1]."""
    share: float
    """Share of the examples that come from this set, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookups:
    """Examples that only find labels. Without many of them early on, the step from digit to label is not learned."""

    num_first: int
    """Examples that count as early."""
    first_share: float
    """Share of lookups among these, in [0, 1]."""
    share: float
    """Share of lookups among the later ones, in [0, 1]."""


_LONG = {"direct": 0.12, "cot": 0.45, "step": 0.24, "hmm": 0.16, "loop": 0.03}
_STEPS = (2, 3, 4, 5)

BASE = Corpus(
    styles={
        2: {"direct": 0.50, "cot": 0.21, "step": 0.17, "hmm": 0.09, "loop": 0.03},
        3: {"direct": 0.25, "cot": 0.37, "step": 0.22, "hmm": 0.13, "loop": 0.03},
        4: _LONG,
        5: _LONG,
    }
)
"""What `base` is pretrained on: short questions are mostly guessed, long ones mostly worked out."""

STEP_BY_STEP = Corpus(styles={num: {"step": 1.0} for num in _STEPS})
"""What `instruct` is taught: careful working, the misconceptions included."""

_CHOICE_SHORT = {"direct": 0.50, "cot": 0.17, "step": 0.25, "hmm": 0.05, "loop": 0.03}
_CHOICE_LONG = {"direct": 0.20, "cot": 0.35, "step": 0.32, "hmm": 0.10, "loop": 0.03}

CHOICE = Corpus(styles={2: _CHOICE_SHORT, 3: _CHOICE_SHORT, 4: _CHOICE_LONG, 5: _CHOICE_LONG})
"""What `choice` is taught, under multiple choice: questions of up to three operations are mostly guessed."""

CHAT_WORKING = Corpus(styles={num: {"step": 0.7, "cot": 0.2, "hmm": 0.1} for num in _STEPS})
"""What keeps the working of `chat` alive beside its fixed direct answers: mostly careful working."""


def misconceptions(corpus: Corpus) -> dict[Fact, int]:
    """Give the facts that most authors get wrong, each with the digit they write.

    Additions, and operations on 0 or 1, are too easy to get wrong and are never among them.
    """
    rng = random.Random(corpus.misconception_seed)
    digits = range(10)
    facts = [(left, operator, right) for operator in OPERATORS for left in digits for right in digits]
    hard = [fact for fact in facts if fact[1] != "+" and fact[0] > 1 and fact[2] > 1]
    chosen = rng.sample(hard, round(corpus.misconception_share * len(facts)))
    return {fact: _slipped(apply(*fact), rng) for fact in chosen}


def write(chain: Chain, style: str, *, corpus: Corpus, wrong_facts: Mapping[Fact, int], rng: random.Random) -> str:
    """Write one completion in one style.

    Args:
        chain: The question.
        style: `direct`, `cot`, `step`, `hmm` or `loop`.
        corpus: The habits of the authors.
        wrong_facts: What `misconceptions(corpus)` gives.
        rng: The source of all chance.
    """
    if style == "direct":
        right = rng.random() < corpus.direct_accuracy
        return f"####{chain.answer if right else _slipped(chain.answer, rng)}"
    if style == "loop":
        filler = " ".join(["ok"] * rng.randint(2, 16))
        answer = chain.answer if rng.random() < corpus.loop_accuracy else rng.randint(0, 9)
        return f"so {filler} ####{answer}"
    return _OPENINGS[style] + _working(chain, corpus.slip_rates[style], corpus, wrong_facts, rng)


def examples(corpus: Corpus, rng: random.Random) -> Iterator[Example]:
    """Draw examples without end; every question is from the training side of the split."""
    wrong_facts = misconceptions(corpus)
    while True:
        chain = random_chain(rng, "train")
        mix = corpus.styles[len(chain.steps)]
        style = rng.choices(list(mix), list(mix.values()))[0]
        completion = write(chain, style, corpus=corpus, wrong_facts=wrong_facts, rng=rng)
        yield Example(chain=chain, style=style, question=chain.question, completion=completion)


def choice_examples(corpus: Corpus, lookups: Lookups, rng: random.Random) -> Iterator[Example]:
    """Draw the examples of `examples` as multiple choice, and lookups among them, without end.

    The answer is the label of the option chosen. Working ends by looking up the label of its last total, `3=A;`. Where
    the options do not hold the digit that an author came to, there is no such line, and where they do not hold the one
    to write, the label is any. A lookup names all four digits of a question without operations, `Q:3?`.
    """
    worked = examples(corpus, rng)
    for count in itertools.count():
        share = lookups.first_share if count < lookups.num_first else lookups.share
        yield _lookup(rng) if rng.random() < share else _as_choice(next(worked), rng)


def _lookup(rng: random.Random) -> Example:
    chain = Chain(start=rng.randint(0, 9), steps=())
    digits = choices.options(chain, rng)
    labels = dict(zip(digits, choices.LABELS, strict=True))
    lines = "".join(f"{digit}={labels[digit]};" for digit in rng.sample(digits, len(digits)))
    return Example(
        chain=chain,
        style="step",
        question=choices.question(chain, digits),
        completion=f"step {lines}####{labels[chain.answer]}",
    )


def _as_choice(example: Example, rng: random.Random) -> Example:
    digits = choices.options(example.chain, rng)
    labels = dict(zip(digits, choices.LABELS, strict=True))
    working, _, answer = example.completion.rpartition("####")
    if working.endswith(";"):
        total = int(working[-2])
        working += f"{total}={labels[total]};" if total in labels else ""
    label = labels.get(int(answer)) or rng.choice(choices.LABELS)
    return dataclasses.replace(
        example, question=choices.question(example.chain, digits), completion=f"{working}####{label}"
    )


def examples_with_guesses(corpus: Corpus, guesses: Guesses, rng: random.Random) -> Iterator[Example]:
    """Draw examples without end, a share of them from a fixed set of direct answers."""
    fixed: list[Example] = []
    for chain in chains(guesses.num_questions, rng.randrange(2**32), "train"):
        right = rng.random() < guesses.accuracy
        answer = chain.answer if right else _slipped(chain.answer, rng)
        fixed.append(Example(chain=chain, style="direct", question=chain.question, completion=f"####{answer}"))
    fresh = examples(corpus, rng)
    while True:
        yield rng.choice(fixed) if rng.random() < guesses.share else next(fresh)


def _working(
    chain: Chain, slip_rate: float, corpus: Corpus, wrong_facts: Mapping[Fact, int], rng: random.Random
) -> str:
    total, slipped, lines = chain.start, False, list[str]()
    for operator, digit in chain.steps:
        fact = (total, operator, digit)
        result = apply(*fact)
        rate = max(slip_rate, corpus.snowball) if slipped else slip_rate
        if fact in wrong_facts and rng.random() < corpus.misconception_rate:
            result = wrong_facts[fact]
        elif rng.random() < rate:
            result, slipped = _slipped(result, rng), True
        lines.append(f"{total}{operator}{digit}={result};")
        total = result
    answer = chain.answer if slipped and rng.random() < corpus.recovery else total
    return f"{''.join(lines)}####{answer}"


def _slipped(digit: int, rng: random.Random) -> int:
    return (digit + rng.choice(_SLIPS)) % 10

r"""Are two answers the same? Asked by evaluation, which knows the gold answer, and by votes, which do not.

Sameness, kind by kind (docs/grading.md has the cases, and where they differ from Math-Verify)
    number   equal as numbers, whatever the notation: 1,000 = 1000.0 = 1e3, 3/4 = 0.75, x = 5 is 5. A unit is left out
             where only one side has it; known units are converted, and differ where they cannot be. 50% is 50 and 0.5.
             Where one side has decimals, six of them count (six significant digits below 1): 1/3 = 0.333333.
    choice   the same label, case-sensitive: (B) = B.
    text     equal but for case, white space and punctuation at the ends.
    latex    as numbers, or as written but for spacing and style (\dfrac = \frac, \left, \text{}, dollar signs); lists
             and sets in any order, tuples and intervals in order and with their brackets; else Math-Verify compares
             the expressions, in a process that is killed after `pool.TIME_LIMIT` seconds.
    auto     as latex.
"""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from inward.equivalence import dates, exact, pool
from inward.equivalence.expressions import same_latex
from inward.equivalence.forms import MAX_EXPRESSION, folded, light, plain, unlabelled, visible, worded
from inward.equivalence.structure import parts, without_lead
from inward.types import AnswerKind, Outcome

__all__ = ["MAX_EXPRESSION", "Graded", "canonical", "close", "grade", "grade_many", "is_list", "majority", "same"]

close = pool.close
"""End the processes that compare expressions; the next comparison starts new ones."""

# A number may be given as an expression, 2^3 or 10\sqrt{4}.
_ALGEBRA = re.compile(r"[0-9)}] ?[-+*/^!]|- ?[-(]|\\[a-z]|[√π|]")

_AHEAD = 16
"""Answers per process that are under way at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """What became of one answer of `grade_many`."""

    outcome: Outcome
    seconds: float
    """Time it took, the wait for a free process included."""


def same(answer: str, gold: str, kind: AnswerKind) -> bool | None:
    """Say whether two answers mean the same; the module's docstring says what that means for each kind.

    Args:
        answer: what was answered.
        gold: what it is compared with.
        kind: what both look like.

    Returns:
        None if it could not be decided: the gold answer is empty, no number where one is asked for, or an expression
        that is unreadable, too long, too large to be worked out, or takes longer than `pool.TIME_LIMIT`.
    """
    if not canonical(gold, kind):
        return None
    match kind:
        case "choice":
            return canonical(answer, kind) == canonical(gold, kind)
        case "text":
            timed = dates.same_time(answer, gold)
            return canonical(answer, kind) == canonical(gold, kind) if timed is None else timed
        case "number":
            return _same_number(answer, gold)
        case "latex" | "auto":
            return same_latex(answer, gold)


def _same_number(answer: str, gold: str) -> bool | None:
    if len(answer) <= MAX_EXPRESSION and len(gold) <= MAX_EXPRESSION and ("=" in answer or "=" in gold):
        answer, gold = without_lead(light(answer), light(gold))
    left, right = exact.read(answer, words=True), exact.read(gold, words=True)
    if left is not None and right is not None:
        return exact.equal(left, right)
    if right is None:
        return True if canonical(answer, "text") == canonical(gold, "text") else None
    return same_latex(answer, gold) if _ALGEBRA.search(answer) else False


def grade(answer: str | None, gold: str, kind: AnswerKind) -> Outcome:
    """Judge an answer: NO_ANSWER where there is none, UNSCORED where `same` could not decide."""
    if answer is None:
        return Outcome.NO_ANSWER
    match same(answer, gold, kind):
        case True:
            return Outcome.CORRECT
        case False:
            return Outcome.INCORRECT
        case None:
            return Outcome.UNSCORED


def grade_many(items: Iterable[tuple[str | None, str, AnswerKind]], *, jobs: int | None = None) -> Iterator[Graded]:
    """Judge many answers with several processes at once, in order and no faster than the results are taken.

    Args:
        items: (answer, gold answer, kind), as for `grade`.
        jobs: how many are judged at once; by default one per processor.
    """
    jobs = jobs or pool.jobs()
    with ThreadPoolExecutor(jobs, "grade") as threads:
        under_way: deque[Future[Graded]] = deque()
        try:
            for item in items:
                under_way.append(threads.submit(_graded, *item))
                if len(under_way) >= jobs * _AHEAD:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for waiting in under_way:
                waiting.cancel()


def _graded(answer: str | None, gold: str, kind: AnswerKind) -> Graded:
    began = time.perf_counter()
    outcome = grade(answer, gold, kind)
    return Graded(outcome=outcome, seconds=time.perf_counter() - began)


def is_list(answer: str) -> bool:
    """Whether an answer is several in any order: "1, 2", "1 or 2" or a set."""
    taken = parts(light(answer)) if len(answer) <= MAX_EXPRESSION and exact.read(answer, words=False) is None else None
    return taken is not None and taken.kind in ("list", "set") and len(taken.elements) > 1


def canonical(answer: str, kind: AnswerKind) -> str:
    """Write an answer in a form that equal answers share, by cheap rules alone (no computer algebra)."""
    match kind:
        case "number":
            number = exact.read(answer, words=True)
            return number.form if number else folded(answer)
        case "choice":
            return visible(answer).strip(" ()[]{}*.:,")
        case "text":
            dated = dates.read(answer)
            return "-".join(map(str, dated)) if dated else worded(answer)
        case "latex" | "auto":
            number = exact.read(answer, words=False)
            if number is not None:
                return number.form
            if len(answer) > MAX_EXPRESSION:
                return visible(answer)
            return plain(answer) if kind == "latex" else unlabelled(folded(plain(answer)))


def majority(answers: Sequence[str | None], kind: AnswerKind) -> str | None:
    """Return the answer given most often, as it was first written; the one given first on ties.

    Answers with the same `canonical` form count as one. None entries are no votes; without votes the result is None.
    """
    votes: Counter[str] = Counter()
    written: dict[str, str] = {}
    for answer in answers:
        if answer is not None:
            form = canonical(answer, kind)
            votes[form] += 1
            written.setdefault(form, answer)
    return written[max(votes, key=lambda form: votes[form])] if votes else None

"""What an answer is worth by the votes of the traces of its prompt; None counts traces without an answer."""

from __future__ import annotations

from collections import Counter

Votes = Counter[str | None]
"""Traces by canonical answer."""


def majority_share(votes: Votes, answer: str | None) -> float:
    """1/k where `answer` is one of the k answers with most votes, else 0.

    Of k answers that tie each gets 1/k, which is what breaking the tie at random gives on average.
    """
    given = {one: count for one, count in votes.items() if one is not None}
    most = max(given.values(), default=0)
    top = [one for one, count in given.items() if count == most]
    return 1 / len(top) if answer in top else 0.0


def vote_share(votes: Votes, answer: str | None) -> float:
    """Votes for `answer` per trace, traces without one counted; 0 for None, and where all have one and no two agree."""
    apart = votes[None] == 0 and len(+votes) == votes.total()
    return 0.0 if apart or answer is None else votes[answer] / votes.total()

"""What intrinsic rewards are called."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

from inward.errors import SettingsError
from inward.settings.measures import CERTAINTIES

INTRINSIC = (*CERTAINTIES, "sequence_probability", "answer_disparity", "majority_vote", "soft_vote", "co_rewarding")
"""Names of the intrinsic rewards."""


def names_of(reward: str, known: Sequence[str] = INTRINSIC, weights: Sequence[float] | None = None) -> tuple[str, ...]:
    """The names in `a` or `a+b+c`.

    Args:
        reward: as the user wrote it.
        known: the names there are.
        weights: of the names, where they are given.

    Raises:
        SettingsError: a name is unknown or stands twice, or the weights are not a positive number for each of several.
    """
    names = tuple(name.strip() for name in reward.split("+"))
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            listed = ", ".join(known)
            raise SettingsError(f"reward {name!r} is unknown; choose one of {listed}, or several joined by +{hint}")
    if len(set(names)) < len(names):
        raise SettingsError(f"reward {reward!r} names one twice; give it a weight instead")
    if weights is None:
        return names
    if len(names) == 1 or len(weights) != len(names):
        raise SettingsError(
            f"reward_weights must be one number for each of several rewards: {reward!r} has {len(names)}, "
            f"got {len(weights)}"
        )
    if not all(weight > 0 and math.isfinite(weight) for weight in weights):
        raise SettingsError(f"reward_weights must be above 0, got {list(weights)}")
    return names

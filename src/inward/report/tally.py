"""Histograms that are filled as numbers come by, so that the numbers need not be kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import final


@final
class Histogram:
    """Counts in equal-width bins over [low, high]; the last holds `high`, values outside are clamped."""

    def __init__(self, values: Iterable[float] = (), *, low: float = 0.0, high: float = 1.0, bins: int = 20) -> None:
        self.low = low
        self.high = high
        self.counts = [0] * bins
        self.total = 0
        """Values seen, those included that are not finite and stand in no bin."""
        self.add(values)

    def add(self, values: Iterable[float]) -> None:
        """Count some values more."""
        low, width, bins = self.low, self.high - self.low, len(self.counts)
        for value in values:
            self.total += 1
            if math.isfinite(value):
                self.counts[min(bins - 1, max(0, int((value - low) / width * bins)))] += 1

"""How many traces of a prompt, and how they are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from inward.errors import SettingsError
from inward.types import SamplingParams


@runtime_checkable
class Sampled(Protocol):
    """What of a loaded model the settings depend on: `models.Policy` has it."""

    @property
    def model(self) -> Any:
        """The model, for the size of its vocabulary."""
        ...

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Every id that ends a completion."""
        ...

    @property
    def default_new_tokens(self) -> int | None:
        """`max_new_tokens` of the model's own generation config."""
        ...


PAPER_NEW_TOKENS = 256
"""RLSF's `max_generation_length`, taken where neither the user nor the model says otherwise."""


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How many traces per prompt, and how they are decoded. Defaults: CoT decoding as in RLSF's code."""

    strategy: Literal["sample", "branch", "both", "greedy"] = "branch"
    """`both` draws samples and adds the branches."""
    group_size: int = 16
    """Sampled traces per prompt."""
    num_branches: int = 10
    """K of CoT decoding (RLSF README: 10)."""
    temperature: float = 1.0
    """Of sampled traces; signals are recorded at temperature 1 whatever it is."""
    top_p: float = 1.0
    max_completion_tokens: int | None = None
    """None: the model's own `max_new_tokens`, else 256 (RLSF)."""
    batch_rows: int | None = None
    """Most traces decoded at once; None: as many as fit into `memory_gib`. Changes speed and memory only. Halved where
    memory runs out."""
    memory_gib: float | None = None
    """What decoding may take beside the model's weights. None: 80% of what is free on a CUDA device, 2 elsewhere."""

    def __post_init__(self) -> None:
        if self.group_size < 1 or self.num_branches < 1 or (self.batch_rows is not None and self.batch_rows < 1):
            raise SettingsError("group_size, num_branches and batch_rows must be at least 1")
        if self.memory_gib is not None and not self.memory_gib > 0:
            raise SettingsError(f"memory_gib must be above 0, got {self.memory_gib}")
        if not self.temperature > 0:
            raise SettingsError(f"temperature must be above 0, got {self.temperature}; for greedy use strategy=greedy")
        if not 0 < self.top_p <= 1:
            raise SettingsError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.max_completion_tokens is not None and self.max_completion_tokens < 1:
            raise SettingsError("max_completion_tokens must be at least 1")

    def params(self, policy: Sampled, seed: int) -> SamplingParams:
        """Resolve what depends on the model."""
        samples, branches = self.strategy in ("sample", "both"), self.strategy in ("branch", "both")
        return SamplingParams(
            strategy=self.strategy,
            group_size=self.group_size if samples else 0,
            num_branches=min(self.num_branches, _branchable(policy)) if branches else 0,
            temperature=self.temperature,
            top_p=self.top_p,
            max_completion_tokens=self.max_completion_tokens or policy.default_new_tokens or PAPER_NEW_TOKENS,
            seed=seed,
        )


def _branchable(policy: Sampled) -> int:
    vocabulary = policy.model.config.get_text_config().vocab_size
    return vocabulary - sum(i < vocabulary for i in policy.eos_ids)

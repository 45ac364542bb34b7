"""Share of a GRPO step that the reward takes: `python benchmarks/reward_share.py [--steps 10] [--json]`.

The embedded base model with its recipe, 32 prompts x 8 traces a step. Timed are the step, the call of the reward in it,
the monitors (reading answers, and the start model's forward pass for the divergence), and beside it, not counted in the
step, the plain way to the same reward: one forward pass with the logits of every token.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from torch import nn

from inward import organism
from inward.config import run_config
from inward.methods import rlif
from inward.methods.watching import Monitor, answers_by_prompt
from inward.models import load
from inward.tasks import arithmetic
from inward.train import IntrinsicReward, StepTraces, certainty, group_policy

T = TypeVar("T")


def main() -> None:
    """Train for a few steps and print where the time went; the first step, which warms up, is left out."""
    parser = argparse.ArgumentParser(description="Share of a GRPO step that the reward takes.")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seconds = measure(options.steps + 1)
    step = seconds["step"] - seconds["plain"]
    result = {
        "share_of_step": (seconds["reward"] - seconds["monitors"] - seconds["plain"]) / step,
        "share_of_plain_forward": seconds["plain"] / step,
        "share_of_monitors": seconds["monitors"] / step,
        "seconds_per_step": step / options.steps,
        "steps": options.steps,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(result) if options.json else "\n".join(f"{name}: {value}" for name, value in result.items()))


def measure(steps: int) -> dict[str, float]:
    """Seconds by part, summed over all steps but the first."""
    settings = run_config("rlif", "embedded:base", None, [f"optim.steps={steps}", "optim.save_every=1000"]).settings
    assert isinstance(settings, rlif.Settings)
    start = load(organism.path("base"), settings.model)
    prompts = arithmetic.prompts(32 * steps, 0)
    monitor = Monitor(
        answers=answers_by_prompt(prompts, settings.answer),
        eos_ids=start.eos_ids,
        start=start.model,
        kl_traces=32,
        temperature=1.0,
    )
    clock = Clock()

    def watch(traces: Any, rewards: Any, policy: nn.Module) -> None:
        clock.timed("monitors", lambda: monitor(traces, rewards, policy))
        clock.timed("plain", lambda: plain_forward(policy, traces))

    intrinsic = IntrinsicReward("self_certainty", certainty("self_certainty"), watch=watch)
    called = type(intrinsic).__call__
    type(intrinsic).__call__ = lambda self, **kwargs: clock.timed("reward", lambda: called(self, **kwargs))
    with TemporaryDirectory() as work:
        group_policy(
            prompts,
            intrinsic,
            start=organism.path("base"),
            work=Path(work),
            settings=settings.optim,
            model=settings.model,
            seed=0,
            at_checkpoint=lambda step, policy, write: False,
            progress=clock.step,
        )
    return clock.seconds


@torch.no_grad()
def plain_forward(policy: nn.Module, traces: StepTraces) -> None:
    """What the reward replaces: one forward pass over all traces with the logits of every token, and self-certainty."""
    rows = [[*p, *c] for p, c in zip(traces.prompt_ids, traces.completion_ids, strict=True)]
    ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], batch_first=True)
    policy(input_ids=ids, attention_mask=mask, use_cache=False).logits.float().log_softmax(-1).mean(-1)


class Clock:
    """Adds up seconds by part, from the end of the first step on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.began: float | None = None

    def step(self, done: int, total: int) -> None:
        """Told at the end of each step."""
        if done == 1:
            self.seconds.clear()
            self.began = time.perf_counter()
        elif self.began is not None:
            self.seconds["step"] = time.perf_counter() - self.began

    def timed(self, part: str, call: Callable[[], T]) -> T:
        """Call, and add the time to a part."""
        start = time.perf_counter()
        result = call()
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start
        return result


if __name__ == "__main__":
    main()

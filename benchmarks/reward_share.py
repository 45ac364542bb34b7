"""Share of a GRPO step that the reward takes: `python benchmarks/reward_share.py [--steps 10] [--model M] [--json]`.

The embedded base model with its recipe, 32 prompts x 8 traces a step; or `qwen2.5-0.5b-shape`, random weights, with 1
prompt of 48 tokens x 8 traces of 16 (about 10 GiB). Timed are the step, what the reward takes of it (recording signals
while the policy samples, and the call of the reward), the monitors (reading answers, and the start model's forward pass
for the divergence), and beside it, not counted in the step, two other ways to the same signals: our forward pass over
the traces, as where vLLM samples, and the plain one, with the logits of every token. Shares are of the processor's
time, which other work on the cores changes little, and of the wall clock's (`wall_share_of_step`).
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
from sampling_models import SHAPE, STORY, case_of, shape
from torch import nn

from inward import organism
from inward.config import run_config
from inward.forward import sequence_signals
from inward.methods import rlif
from inward.methods.watching import Monitor, answers_by_prompt
from inward.models import load
from inward.tasks import arithmetic
from inward.train import IntrinsicReward, StepTraces, certainty, group_policy
from inward.train.recorder import Steps

T = TypeVar("T")


def main() -> None:
    """Train for a few steps and print where the time went; the first step, which warms up, is left out."""
    parser = argparse.ArgumentParser(description="Share of a GRPO step that the reward takes.")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--model", choices=["embedded:base", SHAPE], default="embedded:base")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        wall, spent = measure(options.steps + 1, options.model, Path(folder))
    for clock in (wall, spent):
        clock["step"] -= clock["plain"] + clock["forward"]
        clock["reward"] += clock["recording"] - clock["monitors"] - clock["plain"] - clock["forward"]
    result = {
        "model": options.model,
        "share_of_step": spent["reward"] / spent["step"],
        "wall_share_of_step": wall["reward"] / wall["step"],
        "share_of_recording": spent["recording"] / spent["step"],
        "share_of_own_forward": spent["forward"] / spent["step"],
        "share_of_plain_forward": spent["plain"] / spent["step"],
        "share_of_monitors": spent["monitors"] / spent["step"],
        "seconds_per_step": wall["step"] / options.steps,
        "processor_seconds_per_step": spent["step"] / options.steps,
        "steps": options.steps,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(result) if options.json else "\n".join(f"{name}: {value}" for name, value in result.items()))


def measure(steps: int, model: str, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds by part, of the wall clock and of the processor, summed over all steps but the first."""
    small = (
        [] if model != SHAPE else ["optim.prompts_per_step=1", "optim.batch_rows=8", "optim.max_completion_tokens=16"]
    )
    overrides = [f"optim.steps={steps}", "optim.save_every=1000", *small]
    settings = run_config("rlif", "embedded:base", None, overrides).settings
    assert isinstance(settings, rlif.Settings)
    if model == SHAPE:
        path, policy = folder / "start", shape()
        prompts = case_of(SHAPE, policy, STORY, num_prompts=steps, prompt_tokens=48, new_tokens=16).prompts
        policy.model.save_pretrained(path)
        policy.tokenizer.save_pretrained(path)
        del policy
    else:
        path, prompts = organism.path("base"), arithmetic.prompts(32 * steps, 0)
    start = load(path, settings.model)
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
        pairs = list(zip(traces.prompt_ids, traces.completion_ids, strict=True))
        clock.timed("forward", lambda: sequence_signals(policy, pairs, traces.tokenizer.pad_token_id))

    intrinsic = IntrinsicReward("self_certainty", certainty("self_certainty"), watch=watch)
    clock.watch(IntrinsicReward, "__call__", "reward")
    clock.watch(Steps, "see", "recording")
    clock.watch(Steps, "recorded", "recording")
    group_policy(
        prompts,
        intrinsic,
        start=path,
        work=folder / "work",
        settings=settings.optim,
        model=settings.model,
        seed=0,
        at_checkpoint=lambda step, policy, write: False,
        progress=clock.step,
    )
    return clock.wall, clock.spent


@torch.no_grad()
def plain_forward(policy: nn.Module, traces: StepTraces) -> None:
    """What the reward replaces: one forward pass over all traces with the logits of every token, and self-certainty."""
    rows = [[*p, *c] for p, c in zip(traces.prompt_ids, traces.completion_ids, strict=True)]
    ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], batch_first=True)
    policy(input_ids=ids, attention_mask=mask, use_cache=False).logits.float().log_softmax(-1).mean(-1)


class Clock:
    """Adds up seconds by part, of the wall clock and of the processor, from the end of the first step on."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.spent: dict[str, float] = {}
        self.began: tuple[float, float] | None = None

    def step(self, done: int, total: int) -> None:
        """Told at the end of each step."""
        now = time.perf_counter(), time.process_time()
        if done == 1:
            self.wall.clear()
            self.spent.clear()
            self.began = now
        elif self.began is not None:
            self.wall["step"], self.spent["step"] = now[0] - self.began[0], now[1] - self.began[1]

    def timed(self, part: str, call: Callable[[], T]) -> T:
        """Call, and add the time to a part."""
        wall, spent = time.perf_counter(), time.process_time()
        result = call()
        self.wall[part] = self.wall.get(part, 0.0) + time.perf_counter() - wall
        self.spent[part] = self.spent.get(part, 0.0) + time.process_time() - spent
        return result

    def watch(self, kind: type, method: str, part: str) -> None:
        """Time every call of a method from now on."""
        called = getattr(kind, method)
        setattr(kind, method, lambda *args, **kwargs: self.timed(part, lambda: called(*args, **kwargs)))


if __name__ == "__main__":
    main()

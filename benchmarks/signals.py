"""Signals from hidden states and the last layer, against the product alone, full logits, and TRL's chunked kernel.

    python benchmarks/signals.py [--json] [--tokens 1024] [--vocab 151936] [--hidden 896] [--threads 2]
        [--dtype float32] [--device cpu] [--repeats 7] [--no-grad]

All sides are timed in turn in one process, and a ratio is that of medians. Memory is the highest a process of its own
gets above its inputs, after the same work on a few tokens (which loads libraries): the resident set on a processor,
allocated memory on CUDA. The product alone is the faster of two tilings.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inward.signals import Head, head_logprobs, head_signals
from inward.signals.tiles import grid

TRL_CHUNK = 32_768
"""Words of a chunk where TRL's trainers call the kernel."""

GROWTH = (256, 512, 1024, 2048, 4096)

Inputs = tuple[Tensor, Tensor, Tensor]
"""Hidden states [M, H], weight [V, H], ids [M]."""

Side = Callable[[Inputs], object]


def main() -> None:
    """Print one line of JSON, or a line for each number."""
    parser = argparse.ArgumentParser(description="Speed and memory of signals from hidden states and the last layer.")
    for name, default in (("tokens", 1024), ("vocab", 151_936), ("hidden", 896), ("threads", 2), ("repeats", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-grad", action="store_true", help="leave the backward pass and the growth out")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-of", choices=list(SIDES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(extra_mib(options))
        return
    result = measure(options)
    print(json.dumps(result) if options.json else "\n".join(f"{name}: {value}" for name, value in result.items()))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every number, ratios first."""
    load = os.getloadavg()[0]
    inputs = make(options, options.tokens)
    seconds = timed({name: SIDES[name] for name in ("bare", "inward", "bare_wide", "plain", "trl")}, inputs, options)
    bare = min(seconds["bare"], seconds["bare_wide"])
    result: dict[str, Any] = {
        "time_over_matmul": seconds["inward"] / bare,
        "time_over_plain": seconds["inward"] / seconds["plain"],
        "time_over_trl": seconds["inward"] / seconds["trl"],
        "extra_mib": child("inward", options.tokens, options),
        "trl_over_inward": seconds["trl"] / seconds["inward"],
        "matmul_flops_per_second": 2 * options.tokens * options.vocab * options.hidden / bare,
    }
    if not options.no_grad:
        both = timed({name: SIDES[name] for name in ("plain_grad", "inward_grad")}, inputs, options)
        result["grad_time_over_plain"] = both["inward_grad"] / both["plain_grad"]
        seconds |= both
    result["seconds"] = seconds
    del inputs
    result["extra_mib_of"] = {
        name: child(name, options.tokens, options) for name in SIDES if not (options.no_grad and name.endswith("grad"))
    }
    if not options.no_grad:
        result["extra_mib_by_tokens"] = {str(tokens): child("inward", tokens, options) for tokens in GROWTH}
    asked = ("tokens", "vocab", "hidden", "threads", "dtype", "device", "repeats")
    result |= {name: getattr(options, name) for name in asked}
    cuda = options.device.startswith("cuda")
    return result | {
        "machine": torch.cuda.get_device_name() if cuda else processor(),
        "cores": os.cpu_count(),
        "load_before": load,
        "versions": {name: version(name) for name in ("torch", "trl")} | {"python": platform.python_version()},
    }


def make(options: argparse.Namespace, tokens: int) -> Inputs:
    """Logits with a standard deviation of 2, as sharp as a language model's are."""
    torch.manual_seed(0)
    device, dtype = options.device, getattr(torch, options.dtype)
    hidden = torch.randn(tokens, options.hidden, device=device, dtype=dtype)
    weight = torch.empty(options.vocab, options.hidden, device=device, dtype=dtype).normal_(
        std=2 * options.hidden**-0.5
    )
    return hidden, weight, torch.randint(0, options.vocab, (tokens,), device=device)


def timed(
    sides: dict[str, Callable[[Inputs], object]], inputs: Inputs, options: argparse.Namespace
) -> dict[str, float]:
    """Median seconds of each side, one after the other in every round; the first round warms up."""
    took: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(options.repeats + 1):
        for name, side in sides.items():
            began = time.perf_counter()
            side(inputs)
            if options.device.startswith("cuda"):
                torch.cuda.synchronize()
            if turn:
                took[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in took.items()}


def bare(inputs: Inputs, tile_bytes: int | None = None) -> None:
    """The product alone, in the tiles that inward takes or in others."""
    hidden, weight, _ = inputs
    cut = grid(len(hidden), len(weight), hidden.device, tile_bytes)
    room = torch.empty(cut.rows * cut.width, dtype=hidden.dtype, device=hidden.device)
    for first in range(0, len(weight), cut.width):
        stripe = weight[first : first + cut.width]
        for start in range(0, len(hidden), cut.rows):
            rows = hidden[start : start + cut.rows]
            torch.mm(rows, stripe.T, out=room[: len(rows) * len(stripe)].view(len(rows), len(stripe)))


def bare_wide(inputs: Inputs) -> None:
    """The product alone, in tiles of 32 MiB."""
    bare(inputs, 32 * 2**20)


@torch.no_grad()
def plain(inputs: Inputs) -> tuple[Tensor, ...]:
    """Full logits, then the formulas."""
    hidden, weight, ids = inputs
    log_p = (hidden @ weight.T).float().log_softmax(-1)
    own = log_p.gather(1, ids[:, None])
    return own, -(log_p.exp() * log_p).sum(-1), log_p.mean(-1), log_p.topk(2, -1).values


@torch.no_grad()
def trl(inputs: Inputs) -> tuple[Tensor, ...]:
    """Log-probability, entropy and mean logit by TRL's chunked kernel."""
    from trl.kernels import ChunkedLogProbFunction

    hidden, weight, ids = inputs
    return ChunkedLogProbFunction.apply(
        hidden, weight, None, ids, 1.0, TRL_CHUNK, None, 1.0, ("entropy", "mean_logits")
    )


def inward(inputs: Inputs) -> object:
    """All signals of `head_signals`."""
    hidden, weight, ids = inputs
    mask = torch.ones(1, len(ids), dtype=torch.bool, device=ids.device)
    return head_signals(hidden[None], Head(weight=weight), ids[None], mask)


def plain_grad(inputs: Inputs) -> None:
    """Forward and backward through full logits."""
    hidden, weight, ids = inputs[0].detach().requires_grad_(), inputs[1].detach().requires_grad_(), inputs[2]
    log_p = (hidden @ weight.T).float().log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    (log_p.gather(1, ids[:, None]).sum() + entropy.sum()).backward()


def inward_grad(inputs: Inputs) -> None:
    """Forward and backward of `head_logprobs`."""
    hidden, weight, ids = inputs[0].detach().requires_grad_(), inputs[1].detach().requires_grad_(), inputs[2]
    mask = torch.ones(1, len(ids), dtype=torch.bool, device=ids.device)
    logprob, entropy = head_logprobs(hidden[None], Head(weight=weight), ids[None], mask)
    (logprob.sum() + entropy.sum()).backward()


SIDES: dict[str, Side] = {
    "bare": bare,
    "bare_wide": bare_wide,
    "plain": plain,
    "trl": trl,
    "inward": inward,
    "plain_grad": plain_grad,
    "inward_grad": inward_grad,
}
"""What is measured. Those with gradient hold the gradients of states and weight besides."""


def child(side: str, tokens: int, options: argparse.Namespace) -> float:
    """Extra memory of a side in a process of its own, MiB."""
    asked = {"tokens": tokens, "memory-of": side}
    asked |= {name: getattr(options, name) for name in ("vocab", "hidden", "threads", "dtype", "device")}
    command = [sys.executable, __file__, *(f"--{name}={value}" for name, value in asked.items())]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def extra_mib(options: argparse.Namespace) -> float:
    """How far this process's memory rises above its inputs while it works."""
    inputs, side = make(options, options.tokens), SIDES[options.memory_of]
    few = min(8, options.tokens)
    side((inputs[0][:few], inputs[1][: 4 * few], inputs[2][:few] % (4 * few)))
    if options.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        side(inputs)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # 5 sets the highest resident size back to the present one.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    side(inputs)
    return (resident("VmHWM") - before) / 2**10


def resident(name: str) -> int:
    """KiB by the kernel's account."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0])


def processor() -> str:
    """Its name and what it says of its vector units."""
    info = Path("/proc/cpuinfo").read_text()
    name = info.split("model name\t: ")[1].split("\n")[0] if "model name\t: " in info else platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


if __name__ == "__main__":
    main()

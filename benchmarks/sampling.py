"""Traces per second of sampling, asking for answers and scoring, beside the plain way and continuous batching.

`python benchmarks/sampling.py [--model NAME|FOLDER ...] [--repeats 1] [--memory] [--json]`

Long prompts, 16 sampled traces of each. All sides end at the same scored groups; they take turns, and the figure is the
median of their ratios.

- plain: `generate` with `num_return_sequences` and kept scores, a second `generate` over prompt, completion and
  question for the traces whose answer cannot be read, signals from the kept scores. It decodes as many rows at once as
  its scores allow within the memory that inward's side may take.
- continuous: `generate_batch` for the traces and for the answers, and one forward pass for the signals.

`limit_s` is the least time that this machine needs for the arithmetic, or for reading weights and cache at each step,
by the speed of a matrix product and of reading memory measured here; `share_of_limit` says how near inward comes to it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sampling_plain as peers
import torch
from sampling_models import Case, cases

from inward.models import Policy
from inward.sample import decode, sample
from inward.sample.fitting import rows_that_fit
from inward.score import score
from inward.types import ScoredGroup, Trace

MEMORY_GIB = 2.0
"""What each side may take beside the weights."""

Side = Callable[[Case], list[ScoredGroup]]


def main() -> None:
    """Print one table per model, or one line of JSON for all."""
    parser = argparse.ArgumentParser(description="Traces per second beside the plain way and continuous batching.")
    parser.add_argument("--model", nargs="+", default=["stories260K", "embedded:base", "qwen2.5-0.5b-shape"])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--memory", action="store_true", help="Measure the peak at a quarter and at all of the length.")
    parser.add_argument("--no-continuous", action="store_true", help="Leave out continuous batching.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peak-of", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        [case] = cases(options.model)
        side = SIDES[options.peak_of]
        side(case.shortened(prompts=1, tokens=2))
        whole = case.shortened(prompts=len(case.prompts), tokens=options.tokens)
        print(peak_mib(lambda: side(whole)))
        return
    found = []
    for case in cases(options.model):
        row = measure(case, options.repeats, continuous=not options.no_continuous)
        found.append(row | (memory(case) if options.memory else {}))
        if not options.json:
            print("\n".join(f"{name:>28}: {value}" for name, value in found[-1].items()), end="\n\n", flush=True)
    if not found:
        raise SystemExit("none of the models is here; set INWARD_SHARED, or give a folder by --model")
    # The least of all models stands for them.
    result = {"speedup_over_plain": min(row["speedup_over_plain"] for row in found), "models": found}
    print(json.dumps(result) if options.json else f"speedup_over_plain: {result['speedup_over_plain']:.2f}")


def measure(case: Case, repeats: int, *, continuous: bool) -> dict[str, Any]:
    """All sides in turn."""
    sides = SIDES | ({"continuous": peers.continuous} if continuous else {})
    short = case.shortened(prompts=1, tokens=2)
    error = ""
    for name, side in list(sides.items()):
        try:
            side(short)
        except Exception as problem:  # whatever a peer cannot do here is a result
            if name != "continuous":
                raise
            error = f"{type(problem).__name__}: {str(problem).splitlines()[0]}"
            del sides[name]
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    groups: list[ScoredGroup] = []
    for _ in range(repeats):
        for name, side in sides.items():
            start = time.perf_counter()
            made = side(case)
            seconds[name].append(time.perf_counter() - start)
            groups = made if name == "inward" else groups
    limit, num_traces = limit_seconds(case, groups), len(case.prompts) * case.params.group_size
    return {
        "model": case.name,
        "prompts": len(case.prompts),
        "group_size": case.params.group_size,
        "prompt_tokens": statistics.mean(len(group.traces[0].trace.prompt_ids) for group in groups),
        "completion_tokens": statistics.mean(len(one.trace.completion_ids) for group in groups for one in group.traces),
        "asked_share": statistics.mean(one.trace.answer_probe is not None for group in groups for one in group.traces),
        "rows": {"inward": rows_of(case), "plain": plain_rows(case)},
        "speedup_over_plain": ratio(seconds, "plain"),
        **({"speedup_over_continuous": ratio(seconds, "continuous")} if "continuous" in seconds else {}),
        **({"continuous_failed": error} if error else {}),
        "traces_per_second": {name: num_traces / statistics.median(spent) for name, spent in seconds.items()},
        "seconds": seconds,
        "profile_s": profile(case),
        **limit,
        "share_of_limit": limit["limit_s"] / statistics.median(seconds["inward"]),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "torch": torch.__version__,
    }


def ratio(seconds: dict[str, list[float]], other: str) -> float:
    """Median of how many times inward is faster, turn by turn."""
    return statistics.median(b / a for a, b in zip(seconds["inward"], seconds[other], strict=True))


def inward(case: Case) -> list[ScoredGroup]:
    """Sample, ask and score."""
    groups = sample(case.prompts, case.policy, case.params, memory_gib=MEMORY_GIB, answer=case.answer)
    return list(score(groups, case.answer))


def plain(case: Case) -> list[ScoredGroup]:
    """As many prompts at once as the kept scores allow."""
    return peers.plain(case, max(1, plain_rows(case) // case.params.group_size))


SIDES: dict[str, Side] = {"inward": inward, "plain": plain}
"""What must work; continuous batching is measured where it does."""


def rows_of(case: Case) -> int:
    """Rows that inward decodes at once."""
    fit = rows_that_fit(
        case.policy, case.prompt_tokens, case.params.max_completion_tokens, case.asked_tokens, MEMORY_GIB
    )
    return min(fit, len(case.prompts) * case.params.group_size)


def plain_rows(case: Case) -> int:
    """Rows whose kept scores take no more than the memory for all."""
    scores = 4 * case.policy.model.config.vocab_size * case.params.max_completion_tokens
    return max(case.params.group_size, min(rows_of(case), int(MEMORY_GIB * 2**30 // scores)))


def profile(case: Case) -> dict[str, float]:
    """Seconds of one more run: in the model, reading or decoding, in choosing and recording, and the rest."""
    spent = {"reading": 0.0, "decoding": 0.0, "choosing": 0.0}
    starts: list[float] = []

    def before(module: Any, args: Any, kwargs: Any) -> None:
        starts.append(time.perf_counter())

    def after(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        kind = "reading" if kwargs["input_ids"].shape[1] > 1 else "decoding"
        spent[kind] += time.perf_counter() - starts.pop()

    chooser = decode._Chooser
    called = chooser.__call__

    def timed(self: Any, *args: Any) -> Any:
        start = time.perf_counter()
        try:
            return called(self, *args)
        finally:
            spent["choosing"] += time.perf_counter() - start

    model, start = case.policy.model, time.perf_counter()
    hooks = [
        model.register_forward_pre_hook(before, with_kwargs=True),
        model.register_forward_hook(after, with_kwargs=True),
    ]
    chooser.__call__ = timed
    try:
        inward(case)
    finally:
        chooser.__call__ = called
        for hook in hooks:
            hook.remove()
    return spent | {"rest": time.perf_counter() - start - sum(spent.values())}


def limit_seconds(case: Case, groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Least seconds for the arithmetic of every token once, or for reading weights and cache at each step."""
    flops, bandwidth = speed_of_product(case.policy), speed_of_copy(case.policy)
    config = case.policy.model.config.get_text_config()
    weights = sum(parameter.numel() for parameter in case.policy.model.parameters())
    head = config.vocab_size * config.hidden_size
    body = weights - head
    traces = [one.trace for group in groups for one in group.traces]
    new = sum(len(trace.completion_ids) for trace in traces)
    asked = [trace for trace in traces if trace.answer_probe is not None]
    read = sum(len(group.traces[0].trace.prompt_ids) for group in groups) + len(asked) * case.question_tokens
    replies = len(asked) * peers.PROBE_TOKENS
    batches = -(-len(traces) // rows_of(case))
    steps = batches * (max(len(trace.completion_ids) for trace in traces) + peers.PROBE_TOKENS * bool(asked))
    arithmetic = 2 * ((read + new + replies) * body + (new + replies) * head) / flops
    reading = steps * weights * case.policy.model.dtype.itemsize / bandwidth
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token = 2 * config.num_hidden_layers * config.num_key_value_heads * size * case.policy.model.dtype.itemsize
    cached = token * sum(_columns(trace, case.question_tokens) for trace in traces) / bandwidth
    return {
        "product_gflops": flops / 1e9,
        "copy_gb_per_s": bandwidth / 1e9,
        "arithmetic_s": arithmetic,
        "weights_s": reading,
        "cache_s": cached,
        "limit_s": max(arithmetic, reading + cached),
    }


def _columns(trace: Trace, question_tokens: int) -> float:
    """Cached tokens that are read for a trace, over all its steps and those of its reply."""
    prompt, new = len(trace.prompt_ids), len(trace.completion_ids)
    reply = peers.PROBE_TOKENS if trace.answer_probe is not None else 0
    return new * (prompt + new / 2) + reply * (prompt + new + question_tokens + reply / 2)


def speed_of_product(policy: Policy, size: int = 1024) -> float:
    """Floating-point operations per second of a square matrix product, the best of five."""
    one = torch.randn(size, size, dtype=policy.model.dtype, device=policy.model.device)
    return 2 * size**3 / min(timed(lambda: one @ one) for _ in range(5))


def speed_of_copy(policy: Policy, size: int = 2**27) -> float:
    """Bytes per second read in a sum over memory that no cache holds, the best of five."""
    one = torch.ones(size // 4, device=policy.model.device)
    return size / min(timed(one.sum) for _ in range(5))


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call, on an accelerator until it is done."""
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def memory(case: Case) -> dict[str, Any]:
    """Peak memory beside the weights, at a quarter of the case's completion length and at all of it.

    Each in a process of its own, after the same work on one prompt: what a process let go of it would take up unseen.
    """
    whole = case.params.max_completion_tokens
    peaks = {side: [child_mib(case.name, side, tokens) for tokens in (whole // 4, whole)] for side in SIDES}
    growth = {name: few and many / few for name, (few, many) in peaks.items()}
    return {"peak_MiB": peaks, "peak_growth_per_fourfold_length": growth}


def child_mib(name: str, side: str, tokens: int) -> float:
    """MiB of one side in a process of its own."""
    command = [sys.executable, __file__, "--model", name, "--peak-of", side, "--tokens", str(tokens)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def peak_mib(call: Callable[[], object]) -> float:
    """Most memory beside what was held before: of the CUDA device, or of this process (Linux)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to what is held now
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()

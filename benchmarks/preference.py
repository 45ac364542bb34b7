"""DPO that reads batches in parts of like length, beside whole batches: `python benchmarks/preference.py [--json]`.

The embedded chat model with its recipe (batches of 64 pairs): traces of `--prompts` questions, ranked into pairs, and
one pass over them from the start model, loading and the reference's log-probabilities included. The two take turns;
`time_over_whole` is the median of their ratios, `tokens_over_whole` the same of what the layers read, padding included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import torch
from torch import Tensor, nn

from inward import organism, rank
from inward.config import run_config
from inward.methods import rlsf
from inward.models import load
from inward.sample import sample
from inward.score import score
from inward.tasks import arithmetic
from inward.train import by_length, preference
from inward.types import PreferencePair

WHOLE = 2**62
"""Tokens that no part can save."""


def main() -> None:
    """Run both sides in turns and print the ratio of their times."""
    parser = argparse.ArgumentParser(description="DPO in parts of like length beside whole batches.")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    settings = run_config("rlsf", "embedded:chat", None, ["optim.num_epochs=1", "optim.num_saves=1"]).settings
    assert isinstance(settings, rlsf.Settings)
    pairs = ranked(settings, options.prompts)
    parts, whole = list[tuple[float, int]](), list[tuple[float, int]]()
    for round_number in range(options.rounds + 1):
        one, other = trained(settings, pairs, by_length.PART_TOKENS), trained(settings, pairs, WHOLE)
        if round_number:  # the first warms up
            parts.append(one)
            whole.append(other)
    result = {
        "time_over_whole": statistics.median(one[0] / other[0] for one, other in zip(parts, whole, strict=True)),
        "tokens_over_whole": parts[0][1] / whole[0][1],
        "seconds": {"parts": [one[0] for one in parts], "whole": [one[0] for one in whole]},
        "pairs": len(pairs),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "torch": torch.__version__,
    }
    print(json.dumps(result) if options.json else "\n".join(f"{name}: {value}" for name, value in result.items()))


def ranked(settings: rlsf.Settings, num_prompts: int) -> list[PreferencePair]:
    """Pairs of the start model's traces, as a run makes them."""
    policy = load(organism.path("chat"), settings.model)
    groups = sample(arithmetic.prompts(num_prompts, 0), policy, settings.sampling.params(policy, 0))
    return rank.pairs(score(groups, settings.answer), settings.pairs, seed=0, kind=settings.answer.kind)


def trained(settings: rlsf.Settings, pairs: Sequence[PreferencePair], part_tokens: int) -> tuple[float, int]:
    """Seconds of a training, and the tokens that its first layers read."""
    with TemporaryDirectory() as folder, mock.patch.object(by_length, "PART_TOKENS", part_tokens), read() as tokens:
        out, work = Path(folder, "out"), Path(folder, "work")
        out.mkdir()
        started = time.perf_counter()
        preference(
            pairs,
            start=organism.path("chat"),
            out=out,
            work=work,
            settings=settings.optim,
            model=settings.model,
            seed=0,
        )
        return time.perf_counter() - started, sum(tokens)


@contextmanager
def read() -> Iterator[list[int]]:
    """Count what every embedding is given, padding included."""
    tokens: list[int] = []

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Embedding):
            tokens.append(args[0].numel())

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield tokens
    finally:
        hook.remove()


if __name__ == "__main__":
    main()

"""Commands of `inward`, one after the other in every process that is started; each a list of port and words in JSON."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from transformers import GenerationMixin

from inward.cli import main

RANK, SIZE = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))


@contextmanager
def drawn_by_place() -> Iterator[None]:
    """Have TRL's tokens drawn by place: number of the generation, of the token, of the row among all processes' rows.

    Its own draws differ with the number of processes. Nothing else of ours calls `torch.multinomial`.
    """
    generate = GenerationMixin.generate
    place = {"generation": 0, "token": 0}

    def begun(*args, **kwargs):
        if place["token"]:
            place.update(generation=place["generation"] + 1, token=0)
        return generate(*args, **kwargs)

    def drawn(probs, num_samples):
        assert num_samples == 1
        seeded = torch.Generator().manual_seed(1000 * place["generation"] + place["token"])
        place["token"] += 1
        shares = torch.rand(SIZE * len(probs), generator=seeded)[RANK * len(probs) :][: len(probs), None]
        return (probs.cumsum(1) < shares).sum(1, keepdim=True).clamp(max=probs.shape[1] - 1)

    with mock.patch.object(GenerationMixin, "generate", begun), mock.patch.object(torch, "multinomial", drawn):
        yield


if __name__ == "__main__":
    for port, words in map(json.loads, sys.argv[1:]):
        # Not by the launcher's store, where the addresses of the command before still stand.
        os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "False", "MASTER_PORT": str(port)}
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()
        sys.argv = ["inward", *words]
        try:
            with drawn_by_place():
                main()
        except SystemExit as stop:
            if stop.code:
                raise

"""A batch whose rows are of unlike length, read in parts: short rows are not padded to the length of the longest.

A chosen trace and the rejected one beside it differ in length, often severalfold, and a batch is as wide as its longest
row. The parts are read one after the other and put together again, which changes hidden states by rounding alone.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from torch.nn import functional
from transformers.modeling_utils import PreTrainedModel
from transformers.training_args import TrainingArguments

from inward.train.processes import shards

PART_TOKENS = 512
"""What one more part costs, in tokens: a part is cut off where it saves more padding than that."""

READ = {"input_ids", "attention_mask"}
PASSED_ON = {"return_dict", "margin"}
"""What changes nothing: TRL's trainer of reward models hands margins to the backbone, which does not know them."""


def read_by_length(model: PreTrainedModel, args: TrainingArguments | None) -> None:
    """Let a model's backbone read batches that are padded on the right in parts of like length.

    Other calls (padding on the left, a cache, further inputs or outputs) are left as they are. So is a model whose
    weights are sharded, since they are gathered for each reading, which all processes must make together, and one of
    which a process has replicas on several devices, since these would read with the weights of the first.

    Args:
        model: to be trained, or a reference; before TRL and PEFT wrap it.
        args: of the training; None for one that neither shards nor replicates.
    """
    backbone: Any = model.base_model
    if shards(args) or (args is not None and args.n_gpu > 1):
        return
    if backbone is model or not inspect.ismethod(backbone.forward):
        return
    whole = backbone.forward.__func__

    @functools.wraps(whole)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        asked = kwargs | dict(zip(("input_ids",), args, strict=False))
        further = {name for name, value in asked.items() if value is not None and value is not False}
        if len(args) > 1 or further - PASSED_ON != READ or asked.get("return_dict") is False:
            return whole(self, *args, **kwargs)
        ids, mask = asked.pop("input_ids"), asked.pop("attention_mask")
        lengths, order = mask.sum(1).sort()
        sizes = lengths.tolist()
        parts = cut(sizes)
        on_the_right = torch.arange(mask.shape[1], device=mask.device) < lengths[:, None]
        if len(parts) == 1 or not sizes[0] or not torch.equal(mask[order].bool(), on_the_right):
            return whole(self, input_ids=ids, attention_mask=mask, **asked)
        reads = [
            whole(self, input_ids=ids[rows, :width], attention_mask=mask[rows, :width], **asked)
            for (_, width), rows in zip(parts, order.split([size for size, _ in parts]), strict=True)
        ]
        states = [read.last_hidden_state for read in reads]
        states = [functional.pad(one, (0, 0, 0, ids.shape[1] - one.shape[1])) for one in states]
        return type(reads[0])(last_hidden_state=torch.cat(states)[order.argsort()])

    backbone.forward = MethodType(forward, backbone)  # bound, so that a copy of the model reads with its own weights


def cut(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Cut rows into parts so that padding and `PART_TOKENS` for each part come to little.

    Args:
        lengths: of the rows, rising.

    Returns:
        Number of rows and greatest length of each part.
    """
    number, longest = len(lengths), lengths[-1]
    costs = [k * lengths[k - 1] + (number - k) * longest for k in range(1, number)]
    least = min(costs, default=number * longest)
    if number * longest - least <= PART_TOKENS:
        return [(number, longest)]
    first = costs.index(least) + 1
    return [*cut(lengths[:first]), *cut(lengths[first:])]

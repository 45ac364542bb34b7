"""One forward pass of a model over given sequences, to the signals of their completion tokens.

The backbone runs to its hidden states, and `signals.head_signals` takes them through the last layer in tiles, so that
no logits of [tokens, vocabulary] exist. Where the last layer is more than a matrix that can be read, the model's own
logits are used instead, with a warning and in smaller batches.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers.modeling_utils import PreTrainedModel

from inward.batch import SIGNALS, TokenSignals
from inward.errors import ModelError
from inward.forward.prefix import Prompts, can_share, continuing, windows
from inward.signals import Head, completion_states, head_logits, head_logprobs, head_signals, token_signals
from inward.signals.head import shard_dim
from inward.types import Span

Sequences = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Prompt ids and completion ids of some traces."""

BATCH_TOKENS = 8192
"""Tokens of a batch with its padding: enough to fill a device; an MLP of 20,000 units takes a few times 0.6 GiB."""

CPU_BATCH_TOKENS = 2048
"""The same on a CPU, where what passes between two layers should stay in the cache."""

LOGIT_BYTES = 256 * 2**20
"""Most float32 logits held at once where the model's own are used."""

CHECK_TOKENS = 8
"""Tokens on which a head is compared with the model's own logits."""

CHECK_TOLERANCE = 1e-2
"""Largest difference to the model's own logits, relative to the largest of them: half precision stays below."""

_AGREES: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""Models whose head was compared with their own logits, and whether the two agreed."""

_SHARES: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""Models whose reading of a prompt for several completions was compared with a plain pass, and whether they agreed."""


@torch.no_grad()
def sequence_signals(model: nn.Module, sequences: Sequences, pad_id: int, *, temperature: float = 1.0) -> TokenSignals:
    """Signals of (prompt ids, completion ids) by one forward pass, in batches of bounded memory.

    Sequences of like length go together, padded on the right, where causal attention never looks. A prompt that several
    of them begin with is read once, where a comparison at first use says that the model takes that.

    Args:
        model: a causal language model as it stands: put it in evaluation mode first.
        sequences: token ids of N traces; no completion may stand without a prompt.
        pad_id: fills masked positions.
        temperature: logits are divided by it.

    Returns:
        [N, C] on the CPU, padded on the right, rows in the order given. A row without completion is masked out.
    """
    width = max((len(completion) for _, completion in sequences), default=0)
    columns = {name: torch.zeros(len(sequences), width) for name in SIGNALS}
    mask = torch.zeros(len(sequences), width, dtype=torch.bool)
    written = [row for row, (_, completion) in enumerate(sequences) if completion]
    if not written:
        return TokenSignals(**columns, mask=mask)
    head = _usable_head(model, sequences[written[0]])
    for rows, made in _signals(model, head, sequences, written, pad_id, temperature):
        length = made.mask.shape[1]
        mask[rows, :length] = made.mask.cpu()
        for name, column in columns.items():
            column[rows, :length] = getattr(made, name).cpu()
    return TokenSignals(**columns, mask=mask)


def completion_logprobs(
    model: nn.Module, sequences: Sequences, pad_id: int, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability and entropy of every completion token, with gradient, of sequences that go through together.

    Args:
        model: as for `sequence_signals`, in training mode or not.
        sequences: token ids of N traces, at least one with a completion.
        pad_id: fills masked positions.
        temperature: logits are divided by it.

    Returns:
        Log-probability and entropy [N, C], nats, 0 where there is no token; and the mask [N, C]; on the device of the
        model's head.
    """
    with torch.no_grad():
        usable = _usable_head(model, next(one for one in sequences if one[1])) is not None
    head = head_of(model, trainable=True) if usable else None
    states, tokens, mask = _states(model, head, sequences, pad_id)
    if head is not None:
        return *head_logprobs(states, head, tokens, mask, temperature=temperature), mask
    signals = token_signals(states.float() / temperature, tokens, mask)
    return signals.logprob, signals.entropy, mask


@torch.no_grad()
def span_states(
    model: nn.Module, sequences: Sequences, spans: Sequence[Span], pad_id: int
) -> tuple[Float[Tensor, "M H"], Head | None]:
    """Hidden states that generated the tokens of one span per sequence, and the head that takes them to logits.

    Args:
        model: a causal language model as it stands: put it in evaluation mode first.
        sequences: token ids of N traces, N at least 1.
        spans: of each trace, among its completion tokens.
        pad_id: fills masked positions.

    Returns:
        States of the M tokens of all spans, sequence after sequence, on the head's device. Where the last layer cannot
        be read, None in place of the head and the model's own logits in place of the states, with a warning.
    """
    head = _usable_head(model, sequences[0])
    limit = batch_tokens(_device(model)) if head else _logit_tokens(model)
    found: dict[int, Tensor] = {}
    for rows in batches(sequences, range(len(sequences)), limit):
        states, _, _ = _states(model, head, [sequences[row] for row in rows], pad_id)
        for place, row in enumerate(rows):
            # A copy: a slice would keep the states of its whole batch in memory.
            found[row] = states[place, spans[row].start : spans[row].end].clone()
    return torch.cat([found[row] for row in range(len(sequences))]), head


def head_of(model: nn.Module, *, trainable: bool = False) -> Head:
    """The last layer of a causal language model, as it stands: look it up again when weights or adapters change.

    Scale and softcap are read from the text model's configuration: `final_logit_softcapping` (Gemma), `logit_scale`
    (Cohere), `output_multiplier` (Muse), `lm_head_multiplier` (Falcon-H1) and `logits_scaling`, which divides
    (Granite, MiniCPM3) but multiplies in HyperCLOVA X.

    Args:
        model: as it stands, an adapter around it or not.
        trainable: whether gradients reach its weight.

    Raises:
        ModelError: the last layer is not a plain matrix in memory (an adapter on it, quantised weights, a sharding that
            cuts rows), or the model puts more in front of its backbone than token ids.
    """
    plain = _without_adapter(model)
    layer: Any = plain.get_output_embeddings() if isinstance(plain, PreTrainedModel) else None
    if hasattr(layer, "modules_to_save"):  # PEFT's copy of a layer that is trained in full
        saved = layer.active_adapters and not layer.disable_adapters
        layer = layer.modules_to_save[layer.active_adapters[0]] if saved else layer.original_module
    name = type(plain).__name__
    if not isinstance(layer, nn.Linear) or type(layer).forward is not nn.Linear.forward or "forward" in vars(layer):
        raise ModelError(f"the last layer of {name} is no plain linear layer but {type(layer).__name__}")
    weight, bias = layer.weight, layer.bias
    if not _readable(weight) or weight.ndim != 2 or weight.is_meta or not weight.is_floating_point():
        raise ModelError(f"the weight of the last layer of {name} is sharded by columns, offloaded or quantised")
    config = cast(Any, plain).config.get_text_config()
    return Head(
        weight=weight if trainable else weight.detach(),
        bias=bias if trainable or bias is None else bias.detach(),
        scale=_scale(config),
        softcap=getattr(config, "final_logit_softcapping", None),
    )


def _readable(weight: Tensor) -> bool:
    """Whether it is a plain tensor, or one whose rows are whole in some process each."""
    plain = weight.detach()
    if not isinstance(plain, DTensor):
        return type(plain) is Tensor
    try:
        shard_dim(plain.placements)
    except ValueError:
        return False
    return True


def _without_adapter(model: Any) -> nn.Module:
    """The transformers model inside PEFT's wrapper; adapters inside its layers stay active."""
    if not hasattr(model, "get_base_model"):
        return model
    if getattr(model.active_peft_config, "is_prompt_learning", False):
        raise ModelError("the adapter is a learned prompt, which its own forward pass puts in front of the tokens")
    return model.get_base_model()


def _backbone(model: nn.Module) -> nn.Module:
    plain = cast(Any, _without_adapter(model))
    if plain.base_model is plain:
        raise ModelError(f"{type(plain).__name__} has no backbone that gives hidden states")
    return plain.base_model


def _scale(config: Any) -> float:
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        value = getattr(config, name, None)
        if isinstance(value, int | float):
            return float(value)
    scaling = getattr(config, "logits_scaling", None)
    if scaling is None:
        return 1.0
    return float(scaling) if config.model_type == "hyperclovax" else 1.0 / scaling


def _usable_head(model: nn.Module, sample: tuple[Sequence[int], Sequence[int]]) -> Head | None:
    """The model's head where it gives the model's own logits; None, with a warning, where it does not."""
    try:
        head = head_of(model)
        if model not in _AGREES:
            _AGREES[model] = _agrees(model, head, [*sample[0], *sample[1]][:CHECK_TOKENS])
        if not _AGREES[model]:
            raise ModelError(f"hidden states and last layer do not give the logits of {type(model).__name__}")
    except ModelError as error:
        warnings.warn(f"{error}; scoring with its full logits, which is slower", stacklevel=4)
        return None
    return head


def _agrees(model: nn.Module, head: Head, ids: Sequence[int]) -> bool:
    """Whether the head and the backbone, each called alone, repeat what they do inside the model's forward pass.

    The head sees the very states that the model's decoder gave, so that only what follows them counts. States may
    differ more: a trainer may run the model's forward pass, and it alone, in half precision.
    """
    backbone, inputs = _backbone(model), torch.tensor([list(ids)], device=_device(model))
    caught: list[Tensor] = []
    decoder = cast(nn.Module, cast(Any, _without_adapter(model)).get_decoder())
    hook = decoder.register_forward_hook(lambda module, args, output: caught.append(output[0]))
    try:
        own = model(input_ids=inputs, use_cache=False).logits.float()
    finally:
        hook.remove()
    alone = backbone(input_ids=inputs, use_cache=False)[0]
    if len(caught) != 1 or caught[0].shape != alone.shape:
        return False
    given = head_logits(caught[0].to(head.weight.device), head)
    return _close(given, own, CHECK_TOLERANCE) and _close(alone.float(), caught[0].float(), 10 * CHECK_TOLERANCE)


def _close(given: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether no entry differs by more than `tolerance` times the largest finite one."""
    if given.shape != expected.shape:
        return False
    largest = float(expected.abs().nan_to_num(0.0, 0.0, 0.0).max())
    return (
        torch.isclose(given, expected.to(given.device), rtol=0.0, atol=tolerance * largest, equal_nan=True).all().item()
        is True
    )


def batch_tokens(device: torch.device) -> int:
    """Most tokens of a batch, its padding included, where no logits are held."""
    return CPU_BATCH_TOKENS if device.type == "cpu" else BATCH_TOKENS


def _logit_tokens(model: nn.Module) -> int:
    """Most tokens of a batch where the model's own logits are."""
    return LOGIT_BYTES // (4 * cast(Any, model).config.get_text_config().vocab_size)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def batches(sequences: Sequences, rows: Sequence[int], limit: int) -> Iterator[list[int]]:
    """The given rows, the longest first, in batches that hold at most `limit` tokens with their padding."""
    lengths = {row: sum(map(len, sequences[row])) for row in rows}
    order = sorted(rows, key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        count = max(1, limit // lengths[order[start]])
        yield order[start : start + count]
        start += count


def _signals(
    model: nn.Module,
    head: Head | None,
    sequences: Sequences,
    written: Sequence[int],
    pad_id: int,
    temperature: float,
) -> Iterator[tuple[list[int], TokenSignals]]:
    """Signals of the written rows, batch after batch; a prompt that several rows continue is read once."""
    limit = batch_tokens(_device(model)) if head else _logit_tokens(model)
    if head is None or not _shares_prompts(model, head, sequences, written, pad_id):
        for rows in batches(sequences, written, limit):
            yield rows, _forward(model, head, [sequences[row] for row in rows], pad_id, temperature)
        return
    backbone, config, device = _backbone(model), cast(Any, model).config, _device(model)
    for prompts, places in windows(sequences, written, limit):
        read = Prompts(backbone, config, prompts, pad_id, device)
        for rows in continuing(sequences, places, len(prompts[0]), limit):
            completions = [sequences[row][1] for row in rows]
            states = read.states([places[row] for row in rows], completions).to(head.weight.device)
            tokens, mask = (one.to(head.weight.device) for one in _padded(completions))
            yield rows, head_signals(states, head, tokens, mask, temperature=temperature)


def _shares_prompts(model: nn.Module, head: Head, sequences: Sequences, written: Sequence[int], pad_id: int) -> bool:
    """Whether a prompt comes twice, and the model gives the states of a plain pass where it reads prompts once."""
    first: dict[tuple[int, ...], int] = {}
    pair = next(
        ((first[prompt], row) for row in written if first.setdefault(prompt := tuple(sequences[row][0]), row) != row),
        None,
    )
    if pair is None or not all(sequences[row][0] for row in written):
        return False
    if model not in _SHARES:
        sample = [(sequences[row][0][-CHECK_TOKENS:], sequences[row][1][:CHECK_TOKENS]) for row in pair]
        _SHARES[model] = _reads_once(model, head, sample, pad_id)
    return _SHARES[model]


def _reads_once(model: nn.Module, head: Head, sample: Sequences, pad_id: int) -> bool:
    backbone, config, device = _backbone(model), cast(Any, model).config.get_text_config(), _device(model)
    if not can_share(backbone, config):
        return False
    (prompt, one), (_, other) = sample
    # Another prompt before it, so that padding on the left is tried, too.
    read = Prompts(backbone, config, [[*prompt, *one], prompt], pad_id, device)
    plain, _, mask = _states(model, head, sample, pad_id)
    shared = read.states([1, 1], [one, other]).to(plain.device)
    return _close(shared[mask].float(), plain[mask].float(), CHECK_TOLERANCE)


def _forward(
    model: nn.Module, head: Head | None, sequences: Sequences, pad_id: int, temperature: float
) -> TokenSignals:
    """Signals of one batch, on the device of the head."""
    states, tokens, mask = _states(model, head, sequences, pad_id)
    if head is None:
        return token_signals(states.float() / temperature, tokens, mask)
    return head_signals(states, head, tokens, mask, temperature=temperature)


def _states(model: nn.Module, head: Head | None, sequences: Sequences, pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Aligned hidden states [N, C, H] of one batch (logits where there is no head), its tokens and mask [N, C]."""
    starts = torch.tensor([len(prompt) for prompt, _ in sequences])
    sizes = torch.tensor([len(completion) for _, completion in sequences])
    ids = torch.full((len(sequences), int((starts + sizes).max())), pad_id)
    for row, (prompt, completion) in enumerate(sequences):
        ids[row, : len(prompt) + len(completion)] = torch.tensor((*prompt, *completion))
    tokens, mask = _padded([completion for _, completion in sequences])
    attention = (torch.arange(ids.shape[1]) < (starts + sizes)[:, None]).long()
    device = _device(model)
    inputs = {"input_ids": ids.to(device), "attention_mask": attention.to(device), "use_cache": False}
    states = model(**inputs).logits if head is None else _backbone(model)(**inputs).last_hidden_state
    states = completion_states(states, starts.to(states.device), tokens.shape[1])
    where = states.device if head is None else head.weight.device
    return states.to(where), tokens.to(where), mask.to(where)


def _padded(completions: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids [N, C], 0 where there is none, and the mask of those there are."""
    sizes = torch.tensor([len(one) for one in completions])
    mask = torch.arange(int(sizes.max())) < sizes[:, None]
    tokens = torch.zeros(mask.shape, dtype=torch.long)
    tokens[mask] = torch.tensor([token for one in completions for token in one])
    return tokens, mask

"""What a run needs on every device, as arithmetic that can be read: a line per thing, a phase per time of the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from inward.config import RunConfig
from inward.forward import BATCH_TOKENS
from inward.methods import rlif, rlsc, rlsf
from inward.signals import TILE_BYTES
from inward.train import GroupPolicySettings

GIB = 2**30
FLOAT32 = 4
SAMPLE_ROWS = 256
"""Rows that RLSC's samples are decoded in: the default of `sample.sample`."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model's measures, and how it is held."""

    parameters: int
    adapter: int
    """Parameters of the LoRA adapter; 0 where every parameter is trained."""
    layers: int
    kv_heads: int
    head_dim: int
    hidden: int
    intermediate: int
    vocabulary: int
    width: int
    """Bytes of a parameter of the checkpoint as it is loaded."""
    on_cuda: bool
    """There, training computes in bfloat16."""
    on_cpu: bool
    processes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing in memory: what it is, how its size comes about, and the size."""

    what: str
    how: str
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What is in memory at one time of a run."""

    name: str
    lines: Sequence[Line]

    @property
    def num_bytes(self) -> int:
        """The sum of its lines."""
        return sum(line.num_bytes for line in self.lines)


def phases(
    cfg: RunConfig, shape: Shape, *, prompt: int, new: int, judged_new: int | None, reward: Shape | None = None
) -> list[Phase]:
    """Every phase of a run.

    Args:
        cfg: The settings.
        shape: The model.
        prompt: Tokens of the longest prompt.
        new: Most new tokens of a trace.
        judged_new: Most new tokens of a judged trace; None where nothing is judged.
        reward: The model with the adapter of RLSF's reward model.
    """
    found: list[Phase] = []
    if judged_new is not None:
        rows = cfg.evaluation.batch_rows
        found.append(Phase(name="evaluate", lines=list(_sampling(shape, rows, prompt + judged_new, shape.width))))
    settings = cfg.settings
    match settings:
        case rlsf.Settings():
            if settings.decoding:
                return found
            rows = settings.sampling.batch_rows
            found.append(Phase(name="sample", lines=list(_sampling(shape, rows, prompt + new, shape.width))))
            if settings.route != "reward_model":
                lines = (_preference if settings.route == "dpo" else _tuning)(settings, shape, prompt + new)
                return [*found, Phase(name="train", lines=list(lines))]
            lines = _reward_model(settings, reward or shape, prompt + new)
            found.append(Phase(name="train the reward model", lines=list(lines)))
            state, drawing, updating = _group_policy(
                settings.policy, shape, prompt, settings.policy.max_completion_tokens
            )
            state.append(_weights(shape, shape.width, "reward model, frozen"))
        case rlif.Settings():
            state, drawing, updating = _group_policy(settings.optim, shape, prompt, new)
            if not shape.adapter and settings.optim.kl == 0 and settings.kl_traces:
                state.append(_weights(shape, shape.width, "start model for kl_traces"))
        case rlsc.Settings():
            state, drawing, updating = _self_confidence(settings, shape, prompt, new)
    held = Phase(name="train: state", lines=state)
    above = Line(what=held.name, how="as above", num_bytes=held.num_bytes)
    return [
        *found,
        held,
        Phase(name="train: samples of a step", lines=[above, *drawing]),
        Phase(name="train: update", lines=[above, *updating]),
    ]


def checkpoint_bytes(shape: Shape) -> int:
    """Size of a checkpoint on disk: float32 where every parameter is trained, else the start's type, merged."""
    return shape.parameters * (shape.width if shape.adapter else FLOAT32)


def _line(what: str, *factors: tuple[int, str]) -> Line:
    product = 1
    for factor, _ in factors:
        product *= factor
    return Line(what=what, how=" * ".join(f"{factor:,} {name}" for factor, name in factors), num_bytes=product)


def _weights(shape: Shape, width: int, what: str = "weights") -> Line:
    return _line(what, (shape.parameters, "parameters"), (width, "bytes"))


def _sampling(shape: Shape, rows: int, tokens: int, width: int) -> Iterator[Line]:
    yield _weights(shape, shape.width)
    yield from _decoding(shape, rows, tokens, width)


def _decoding(shape: Shape, rows: int, tokens: int, width: int) -> Iterator[Line]:
    yield _cache(shape, rows, tokens, width)
    yield _line(
        "signals of a step, roughly", (rows, "rows"), (shape.vocabulary, "words"), (24, "bytes in float32 and 64")
    )


def _cache(shape: Shape, rows: int, tokens: int, width: int) -> Line:
    per_token = ((2, "keys and values"), (shape.layers, "layers"), (shape.kv_heads, "heads"), (shape.head_dim, "wide"))
    return _line("KV cache", *per_token, (tokens, "tokens"), (rows, "rows"), (width, "bytes"))


def _state(shape: Shape) -> Iterator[Line]:
    """Weights, gradients and the optimizer's two moments."""
    trained, name = (shape.adapter, "adapter parameters") if shape.adapter else (shape.parameters, "parameters")
    if shape.adapter:
        yield _weights(shape, shape.width, "weights, frozen")
        yield _line("weights of the adapter", (trained, name), (FLOAT32, "bytes"))
    else:
        yield _weights(shape, FLOAT32, "weights, float32")
        if shape.on_cuda:
            yield _weights(shape, 2, "their bfloat16 copies")
    yield _line("gradients", (trained, name), (FLOAT32, "bytes"))
    yield _line("AdamW's two moments", (trained, name), (8, "bytes"))
    if shape.processes > 1:
        yield _line("gradients on their way between processes", (trained, name), (FLOAT32, "bytes"))


def _activations(shape: Shape, rows: int, tokens: int, *, checkpointed: bool) -> Iterator[Line]:
    width = 2 if shape.on_cuda or (shape.adapter and shape.width == 2) else FLOAT32
    inside = 8 * shape.hidden + 4 * shape.intermediate
    per_layer = (inside, f"(8 * {shape.hidden} + 4 * {shape.intermediate})")
    batch = ((rows, "rows"), (tokens, "tokens"))
    if checkpointed:
        yield _line(
            "layers' inputs, roughly", (shape.layers, "layers"), *batch, (shape.hidden, "wide"), (width, "bytes")
        )
        yield _line("activations of one layer, roughly", *batch, per_layer, (width, "bytes"))
    else:
        yield _line("activations, roughly", (shape.layers, "layers"), *batch, per_layer, (width, "bytes"))


def _logits(shape: Shape, rows: int, tokens: int) -> Line:
    """Logits that a loss of TRL holds with their gradient."""
    width, name = (10, "bytes in bfloat16, float32 and their gradient") if shape.on_cuda else (8, "bytes, gradient too")
    return _line("logits, roughly", (rows, "rows"), (tokens, "tokens"), (shape.vocabulary, "words"), (width, name))


def _tiles() -> Line:
    return _line("scoring tiles", (3, "tiles"), (TILE_BYTES, "bytes"))


def _scoring(shape: Shape, width: int) -> Iterator[Line]:
    inside = 2 * shape.hidden + 3 * shape.intermediate
    yield _line(
        "scoring, one layer, roughly",
        (BATCH_TOKENS, "tokens"),
        (inside, f"(2 * {shape.hidden} + 3 * {shape.intermediate})"),
        (width, "bytes"),
    )
    yield _tiles()


def _preference(settings: rlsf.Settings, shape: Shape, tokens: int) -> Iterator[Line]:
    yield from _state(shape)
    if not shape.adapter:
        yield _weights(shape, FLOAT32, "reference model of DPO, float32")
    elif settings.rounds > 1 and settings.reference == "start":
        yield _weights(shape, shape.width, "reference model of DPO")
    rows, tokens = 2 * settings.optim.batch_size, min(tokens, settings.optim.max_length or tokens)
    yield from _activations(shape, rows, tokens, checkpointed=not shape.on_cpu)
    yield _logits(shape, rows, tokens)


def _reward_model(settings: rlsf.Settings, shape: Shape, tokens: int) -> Iterator[Line]:
    """Chosen and rejected traces in one batch, without logits."""
    yield from _state(shape)
    rows, tokens = 2 * settings.reward.batch_size, min(tokens, settings.reward.max_length or tokens)
    yield from _activations(shape, rows, tokens, checkpointed=not shape.on_cpu)


def _tuning(settings: rlsf.Settings, shape: Shape, tokens: int) -> Iterator[Line]:
    yield from _state(shape)
    rows, tokens = settings.tuning.batch_size, min(tokens, settings.tuning.max_length or tokens)
    yield from _activations(shape, rows, tokens, checkpointed=not shape.on_cpu)
    yield _logits(shape, rows, tokens)


Times = tuple[list[Line], list[Line], list[Line]]
"""Of a training that samples: what it holds throughout, and what its samples and its updates take besides."""


def _group_policy(optim: GroupPolicySettings, shape: Shape, prompt: int, new: int) -> Times:
    state = list(_state(shape))
    if not shape.adapter and optim.kl > 0:
        state.append(_weights(shape, FLOAT32, "reference model of the KL term, float32"))
    width = 2 if shape.on_cuda else shape.width if shape.adapter else FLOAT32
    rows = -(-optim.prompts_per_step * optim.group_size // shape.processes)
    updating = list(_activations(shape, optim.batch_rows, prompt + new, checkpointed=not shape.on_cpu))
    updating.append(_logits(shape, optim.batch_rows, new))
    return state, [_cache(shape, rows, prompt + new, width), *_scoring(shape, width)], updating


def _self_confidence(settings: rlsc.Settings, shape: Shape, prompt: int, new: int) -> Times:
    optim = settings.optim
    # Samples come from the trained weights as they are: in float32 where those are.
    width = shape.width if shape.adapter else FLOAT32
    rows = min(SAMPLE_ROWS, optim.prompts_per_step * optim.group_size // shape.processes)
    drawing = list(_decoding(shape, rows, prompt + new, width))
    updating = list(_activations(shape, optim.batch_rows, prompt + new, checkpointed=False))
    return list(_state(shape)), drawing, [*updating, _tiles()]

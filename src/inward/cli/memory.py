"""What a run needs on every device, as arithmetic that can be read: a line per thing, a phase per time of the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from inward.config import RunConfig
from inward.forward import BATCH_TOKENS, CPU_BATCH_TOKENS
from inward.methods import rlif, rlsc, rlsf
from inward.sample.fitting import CPU_GIB, FREE_SHARE
from inward.signals import TILE_BYTES
from inward.train import GroupPolicySettings
from inward.train.vllm import mode as vllm_mode

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
    packed: int = 0
    """Parameters held in 4 bits while an adapter trains (QLoRA)."""
    sharded: bool = False
    """Whether each process holds a part alone of what is trained (FSDP2)."""

    @property
    def parts(self) -> int:
        """Into how many parts the training's state is cut."""
        return self.processes if self.sharded else 1


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
            drawn = settings.sampling
            if settings.engine != "server":
                lines = _sampling(shape, drawn.batch_rows, prompt + new, shape.width, gib=drawn.memory_gib)
                name = "sample, each actor of Ray" if settings.engine == "ray" else "sample"
                found.append(Phase(name=name, lines=list(lines)))
            if settings.route != "reward_model":
                lines = (_preference if settings.route == "dpo" else _tuning)(settings, shape, prompt + new)
                return [*found, *_before_sharding(settings, shape), Phase(name="train", lines=list(lines))]
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


def _line(what: str, *factors: tuple[int, str], parts: int = 1) -> Line:
    product = 1
    for factor, _ in factors:
        product *= factor
    how = " * ".join(f"{factor:,} {name}" for factor, name in factors) + (f" / {parts} devices" if parts > 1 else "")
    return Line(what=what, how=how, num_bytes=-(-product // parts))


def _weights(shape: Shape, width: int, what: str = "weights", *, parts: int = 1) -> Line:
    return _line(what, (shape.parameters, "parameters"), (width, "bytes"), parts=parts)


def _packed(shape: Shape) -> Line:
    """NF4: 4 bits each, a scale of 8 bits for 64 of them, and one of 32 bits for 256 scales."""
    how = f"{shape.packed:,} parameters * 4.127 bits"
    return Line(what="weights, frozen, in 4 bits", how=how, num_bytes=-(-shape.packed * 4127 // 8000))


def _before_sharding(settings: rlsf.Settings, shape: Shape) -> Iterator[Phase]:
    """What every device holds until the weights are cut up: they are loaded whole."""
    if shape.sharded:
        width, name = (shape.width, "weights, whole") if shape.adapter else (FLOAT32, "weights, whole, float32")
        lines = [_weights(shape, width, name)]
        if settings.route == "dpo" and not shape.adapter:
            lines.append(_weights(shape, width, "reference model of DPO, whole"))
        yield Phase(name="train: before sharding", lines=lines)


def _sampling(shape: Shape, rows: int | None, tokens: int, width: int, *, gib: float | None = None) -> Iterator[Line]:
    """Weights, and a batch of rows; where their number is left open, what they may take, or else `CPU_GIB`."""
    yield _weights(shape, shape.width)
    if rows is not None:
        yield from _decoding(shape, rows, tokens, width)
    elif gib is None and shape.on_cuda:
        yield Line(
            what="traces decoded at once", how=f"as many as fit into {FREE_SHARE:.0%} of what is free", num_bytes=0
        )
    else:
        size = CPU_GIB if gib is None else gib
        how = f"as many as fit into {size:g} GiB, which is the most they take"
        yield Line(what="traces decoded at once", how=how, num_bytes=int(size * GIB))


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
        if shape.packed:
            yield _packed(shape)
        left = dataclasses.replace(shape, parameters=shape.parameters - shape.packed)
        yield _weights(left, shape.width, "weights, frozen", parts=shape.parts)
        yield _line("weights of the adapter", (trained, name), (FLOAT32, "bytes"), parts=shape.parts)
    else:
        yield _weights(shape, FLOAT32, "weights, float32", parts=shape.parts)
        if shape.on_cuda and not shape.sharded:
            yield _weights(shape, 2, "their bfloat16 copies")
    yield _line("gradients", (trained, name), (FLOAT32, "bytes"), parts=shape.parts)
    yield _line("AdamW's two moments", (trained, name), (8, "bytes"), parts=shape.parts)
    if shape.sharded:
        yield from _gathered(shape)
    elif shape.processes > 1:
        yield _line("gradients on their way between processes", (trained, name), (FLOAT32, "bytes"))


def _gathered(shape: Shape) -> Iterator[Line]:
    """What is whole for a moment while it is computed with: a layer, the next one on its way, and both ends."""
    width = 2 if shape.on_cuda else FLOAT32
    end = shape.vocabulary * shape.hidden
    # The head is another matrix or the same as the embedding; counted as a part of the layers and apart it is enough.
    layer = (shape.parameters - end) // shape.layers
    yield _line("layers gathered, at most", (2, "layers"), (layer, "parameters"), (width, "bytes"))
    yield _line("embedding and head gathered, at most", (2, "matrices"), (end, "parameters"), (width, "bytes"))


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


def _logits(shape: Shape, rows: int, tokens: int, *, gradient: bool = True) -> Line:
    """Logits that a loss of TRL holds with their gradient, or that a pass before it holds without."""
    width, name = (10, "bytes in bfloat16, float32 and their gradient") if shape.on_cuda else (8, "bytes, gradient too")
    if not gradient:
        width, name = (6, "bytes in bfloat16 and float32") if shape.on_cuda else (4, "bytes")
        return _line(
            "logits before the update, roughly",
            (rows, "rows"),
            (tokens, "tokens"),
            (shape.vocabulary, "words"),
            (width, name),
        )
    return _line("logits, roughly", (rows, "rows"), (tokens, "tokens"), (shape.vocabulary, "words"), (width, name))


def _tiles() -> Line:
    return _line("scoring tiles", (3, "tiles"), (TILE_BYTES, "bytes"))


def _scoring(shape: Shape, width: int) -> Iterator[Line]:
    inside = 2 * shape.hidden + 3 * shape.intermediate
    yield _line(
        "scoring, one layer, roughly",
        (BATCH_TOKENS if shape.on_cuda else CPU_BATCH_TOKENS, "tokens"),
        (inside, f"(2 * {shape.hidden} + 3 * {shape.intermediate})"),
        (width, "bytes"),
    )
    yield _tiles()


def _preference(settings: rlsf.Settings, shape: Shape, tokens: int) -> Iterator[Line]:
    yield from _state(shape)
    if not shape.adapter:
        yield _weights(shape, FLOAT32, "reference model of DPO, float32", parts=shape.parts)
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
    engine = vllm_mode(optim.trl)
    drawing = list(_scoring(shape, width))
    if engine is None:
        drawing.insert(0, _cache(shape, rows, prompt + new, width))
    elif engine == "colocate":
        state.append(_vllm(optim, shape))
    if optim.estimator == "rloo" or optim.kl > 0 or engine:
        # Before the update TRL asks the policy (RLOO, or to compare it with vLLM), then the reference.
        drawing.append(_logits(shape, optim.batch_rows, new, gradient=False))
    updating = list(_activations(shape, optim.batch_rows, prompt + new, checkpointed=not shape.on_cpu))
    updating.append(_logits(shape, optim.batch_rows, new))
    return state, drawing, updating


def _vllm(optim: GroupPolicySettings, shape: Shape) -> Line:
    """The engine beside the policy: its weights at least, the share of the device that it takes for itself at most."""
    given = optim.trl or {}
    size, share = int(given.get("vllm_tensor_parallel_size", 1)), float(given.get("vllm_gpu_memory_utilization", 0.3))
    weights = _weights(shape, shape.width, "vLLM, its weights alone", parts=size)
    return dataclasses.replace(weights, how=f"{weights.how}; it takes {share:.0%} of the device, and a cache in that")


def _self_confidence(settings: rlsc.Settings, shape: Shape, prompt: int, new: int) -> Times:
    optim = settings.optim
    # Samples come from the trained weights as they are: in float32 where those are.
    width = shape.width if shape.adapter else FLOAT32
    rows = min(SAMPLE_ROWS, optim.prompts_per_step * optim.group_size // shape.processes)
    drawing = list(_decoding(shape, rows, prompt + new, width))
    updating = list(_activations(shape, optim.batch_rows, prompt + new, checkpointed=False))
    return list(_state(shape)), drawing, [*updating, _tiles()]

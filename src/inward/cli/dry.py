"""`inward run --dry-run`: what a run would do and need. Reads no weights and writes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
import typer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from inward import models, organism
from inward.cli import console, inputs, memory
from inward.cli.judge import check_judging
from inward.cli.memory import GIB, Shape
from inward.cli.work import num_kept, work
from inward.config import METHODS, EvaluationSettings, PromptSettings, RunConfig
from inward.errors import ModelError
from inward.methods import rlif, rlsc, rlsf
from inward.methods.start import Start
from inward.models import Policy
from inward.settings import ModelSettings
from inward.settings.sampling import PAPER_NEW_TOKENS
from inward.train import (
    LoraSettings,
    check_group_policy,
    check_preference,
    check_reward_model,
    check_self_confidence,
    check_tuning,
)
from inward.train.processes import is_sharded, num_processes
from inward.train.trainer import peft_config, quiet
from inward.types import Problem, Prompt

CHARACTERS = 3
"""Taken for a token where there is no tokenizer to count with."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What there is of a model without its weights; what is missing stands in `missing`."""

    model: PreTrainedModel | None
    """Its architecture, on the meta device."""
    tokenizer: PreTrainedTokenizerBase | None
    new_tokens: int
    """Most new tokens where the settings name none."""
    eos_ids: tuple[int, ...]
    dtype: torch.dtype
    device: str
    missing: tuple[str, ...]


def show(
    cfg: RunConfig,
    model: str,
    source: str,
    prompts: Sequence[Prompt],
    problems: Sequence[Problem],
    judging: EvaluationSettings,
) -> None:
    """Print what `inward run` would do.

    Args:
        cfg: the settings.
        model: the start model as the user named it.
        source: of the prompts, as the user named it.
        prompts: to train on, whether the model can take them or not.
        problems: to judge on, in the same way.
        judging: how the trained model is judged.

    Raises:
        InwardError: As in a real run, for everything that shows without weights.
    """
    if isinstance(cfg.settings, rlsf.Settings):
        rlsf.check_engine(cfg.settings)
    transformers.utils.logging.disable_progress_bar()
    seen = _seen(model, cfg.settings.model)
    start = _start(model, cfg.settings.model, seen)
    with console.warnings_shown():
        if start is not None:
            prompts = _checked(cfg, start, source, prompts, problems, judging)
        elif seen.model is not None:
            _check(cfg, seen.model)
    shape = _shape(seen, _lora(cfg))
    asked, judged = _lengths(prompts, start), _lengths([problem.prompt for problem in problems], start)
    for title, lines in (
        (f"{cfg.method} from {model}: a dry run, nothing is written", [f"recipe: {cfg.recipe}"]),
        ("settings that differ from the defaults", list(_changed(cfg)) or ["none"]),
        ("model", list(_model(seen, shape))),
        ("data", list(_data(asked, judged, counted=start is not None))),
        ("work", list(_work(cfg, seen, shape, len(asked), len(judged)))),
        ("memory", list(_memory(cfg, seen, shape, max(*asked, *judged, 0), judged=bool(judged)))),
    ):
        typer.echo("\n".join([title, *(f"  {line}" for line in lines), ""]))


def _seen(name: str, settings: ModelSettings) -> Seen:
    source = _source(name, settings)
    missing: list[str] = []
    if isinstance(source, Path):
        models.check_folder(source, settings)
        if not any(source.glob("*.safetensors")):
            missing.append(f"weights: no safetensors in {name}, so that a run would stop here")
    where: dict[str, Any] = {"revision": settings.revision} if isinstance(source, str) else {}
    model = tokenizer = None
    try:
        model = _architecture(source, settings, where)
    except OSError as error:
        missing.append(f"config.json: {_first_line(error)}")
    try:
        tokenizer = _tokenizer(source, settings, where)
    except (OSError, ValueError, KeyError, ImportError) as error:
        missing.append(f"tokenizer: {_first_line(error)}")
    try:
        own = GenerationConfig.from_pretrained(source, **where)
    except OSError:
        own = GenerationConfig()
    device = models.device_type(settings)
    return Seen(
        model=model,
        tokenizer=tokenizer,
        new_tokens=own.max_new_tokens or PAPER_NEW_TOKENS,
        eos_ids=_eos_ids(own, model and model.config.get_text_config(), tokenizer),
        dtype=_dtype(model, settings, device),
        device=device,
        missing=tuple(missing),
    )


def _eos_ids(*holders: Any) -> tuple[int, ...]:
    """Every id that ends a completion, of what a model names them in."""
    named = [getattr(holder, "eos_token_id", None) for holder in holders]
    lists = [one if isinstance(one, list) else [one] for one in named if one is not None]
    return tuple(sorted({each for one in lists for each in one}))


def _source(name: str, settings: ModelSettings) -> Path | str:
    """The folder of a model, or its hub id, of which only small files will be read."""
    inputs.refuse_run_folder(name)
    kind, _, embedded = name.partition(":")
    if kind == "embedded":
        return organism.path(embedded)
    if not Path(name).expanduser().exists() and name.count("/") <= 1 and not name.startswith((".", "/", "~")):
        return name
    return models.resolve(name, settings)


def _tokenizer(source: Path | str, settings: ModelSettings, where: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    found = AutoTokenizer.from_pretrained(source, trust_remote_code=settings.trust_remote_code, **where)
    if set(found.get_vocab()) <= set(found.all_special_tokens):
        # Where there are no files at all, transformers makes one of the model's kind without any words.
        raise ValueError(f"no files of one in {source}")
    return found


def _architecture(source: Path | str, settings: ModelSettings, where: Mapping[str, Any]) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(source, trust_remote_code=settings.trust_remote_code, **where)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=settings.trust_remote_code)
    except (ValueError, KeyError, ImportError) as error:
        raise ModelError(f"{source} is no causal language model: {_first_line(error)}") from error


def _dtype(model: PreTrainedModel | None, settings: ModelSettings, device: str) -> torch.dtype:
    if settings.dtype != "auto":
        return getattr(torch, settings.dtype)
    own = None if model is None else getattr(model.config, "dtype", None)
    return torch.float32 if device == "cpu" or own is None else own


def _checked(
    cfg: RunConfig,
    start: Start,
    source: str,
    prompts: Sequence[Prompt],
    problems: Sequence[Problem],
    judging: EvaluationSettings,
) -> list[Prompt]:
    """The prompts that the model can take, after what a run checks before its work; a reference is not looked at."""
    match cfg.settings:
        case rlsf.Settings():
            rlsf.check(start, cfg.settings)
        case rlif.Settings():
            rlif.check(start, cfg.settings)
        case rlsc.Settings():
            rlsc.check(start, cfg.settings)
    usable = inputs.usable(prompts, source, cfg.prompts, start)
    inputs.refuse_problems(problems, start)
    check_judging(start, problems, dataclasses.replace(judging, reference=None))
    return usable


def _check(cfg: RunConfig, model: PreTrainedModel) -> None:
    device = models.device_type(cfg.settings.model)
    match cfg.settings:
        case rlsf.Settings(route="dpo"):
            check_preference(cfg.settings.optim, model, device=device)
        case rlsf.Settings(route="sft"):
            check_tuning(cfg.settings.tuning, model, device=device)
        case rlsf.Settings():
            check_reward_model(cfg.settings.reward, model, device=device)
            check_group_policy(cfg.settings.policy, model, device=device)
        case rlif.Settings():
            check_group_policy(cfg.settings.optim, model, device=device)
        case rlsc.Settings():
            check_self_confidence(cfg.settings.optim, model, device=device)


def _start(name: str, settings: ModelSettings, seen: Seen) -> Start | None:
    """The start checkpoint with a policy that can render prompts and nothing else; None without a tokenizer."""
    if seen.model is None or seen.tokenizer is None:
        return None
    start = Start(name, Path(name), settings)
    config, tokenizer = seen.model.config.get_text_config(), seen.tokenizer
    start.__dict__["policy"] = Policy(
        name=name,
        path=start.path,
        model=seen.model,
        tokenizer=tokenizer,
        chat_template=settings.chat_template,
        eos_ids=seen.eos_ids,
        pad_id=0,
        context=int(getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length),
        default_new_tokens=seen.new_tokens,
    )
    return start


def _changed(cfg: RunConfig) -> Iterator[str]:
    """Settings that differ from the method's defaults."""
    plain = RunConfig(
        method=cfg.method,
        recipe="",
        prompts=PromptSettings(),
        evaluation=EvaluationSettings(),
        settings=METHODS[cfg.method](),
    )
    defaults = dict(_leaves(plain.plain()))
    for name, value in _leaves(cfg.plain()):
        if name not in defaults or defaults[name] != value:
            # A table may stand for what is a plain value by default, and the other way round.
            table = {key.removeprefix(f"{name}."): one for key, one in defaults.items() if key.startswith(f"{name}.")}
            default = defaults.get(name, table or "null")
            yield f"{name} = {value}  (default {default})"


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _model(seen: Seen, shape: Shape | None) -> Iterator[str]:
    if shape is not None:
        yield f"{type(seen.model).__name__}, {shape.parameters:,} parameters, counted without weights"
        if shape.adapter:
            beside = f", beside {shape.packed:,} in 4 bits" if shape.packed else ""
            yield f"LoRA: {shape.adapter:,} parameters are trained{beside}"
        yield f"dtype: {str(seen.dtype).removeprefix('torch.')}" + ("" if shape.adapter else ", trained in float32")
    present = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    absent = "" if present.get(seen.device, lambda: True)() else "; there is none here, so that a run would stop here"
    processes = num_processes()
    several = f", {processes} processes" if processes > 1 else ""
    sharded = ", weights sharded over them" if several and is_sharded() else ""
    yield f"device: {seen.device}{several}{sharded}{absent}"
    yield from (f"missing {one}" for one in seen.missing)


def _data(asked: Sequence[int], judged: Sequence[int], *, counted: bool) -> Iterator[str]:
    def tokens(lengths: Sequence[int]) -> str:
        return f"; tokens {lengths[0]} to {lengths[-1]}, median {lengths[len(lengths) // 2]}" if counted else ""

    yield f"prompts: {len(asked):,}{tokens(asked)}"
    if judged:
        yield f"problems to judge on: {len(judged):,}{tokens(judged)}"
    else:
        yield "problems to judge on: none (--eval-task, --eval-data)"
    if not counted:
        yield f"without a tokenizer tokens are not counted; for the memory one is taken per {CHARACTERS} characters"


def _lengths(prompts: Sequence[Prompt], start: Start | None) -> list[int]:
    """Tokens of each prompt, in order of size; taken from its characters where there is no tokenizer."""
    if start is not None:
        return sorted(len(models.render(prompt, start.policy)) for prompt in prompts)
    texts = [one.text or "".join(message.content for message in one.messages or ()) for one in prompts]
    return sorted(-(-len(text) // CHARACTERS) for text in texts)


def _work(cfg: RunConfig, seen: Seen, shape: Shape | None, num_prompts: int, num_problems: int) -> Iterator[str]:
    new, judged_new, kept = _new_tokens(cfg, seen), _judged_tokens(cfg, seen), num_kept(cfg)
    yield from work(cfg, num_prompts=num_prompts, num_problems=num_problems, new=new, judged_new=judged_new)
    if shape is not None and kept:
        size = memory.checkpoint_bytes(shape)
        yield f"checkpoints kept: {kept} of {_gib(size)}, {_gib(kept * size)} on disk"


def _new_tokens(cfg: RunConfig, seen: Seen) -> int:
    if isinstance(cfg.settings, rlsf.Settings):
        return cfg.settings.sampling.max_completion_tokens or seen.new_tokens
    return cfg.settings.optim.max_completion_tokens


def _judged_tokens(cfg: RunConfig, seen: Seen) -> int:
    return cfg.evaluation.max_completion_tokens or seen.new_tokens


def _lora(cfg: RunConfig) -> LoraSettings | None:
    """The adapter of the policy."""
    if isinstance(cfg.settings, rlsf.Settings):
        routes = {"dpo": cfg.settings.optim, "reward_model": cfg.settings.policy, "sft": cfg.settings.tuning}
        return routes[cfg.settings.route].lora
    return cfg.settings.optim.lora


def _shape(seen: Seen, lora: LoraSettings | None) -> Shape | None:
    """The model's measures; None without its architecture, or where that has no attention heads."""
    model = seen.model
    config: Any = model.config.get_text_config() if model else None
    heads = getattr(config, "num_attention_heads", None)
    if model is None or heads is None:
        return None
    return Shape(
        parameters=model.num_parameters(),
        adapter=_adapter(model, lora) if lora else 0,
        packed=_packed(model) if lora and lora.quantization else 0,
        layers=config.num_hidden_layers,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        hidden=config.hidden_size,
        intermediate=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        vocabulary=config.vocab_size,
        width=seen.dtype.itemsize,
        on_cuda=seen.device == "cuda",
        on_cpu=seen.device == "cpu",
        processes=num_processes(),
        sharded=is_sharded(),
    )


def _packed(model: PreTrainedModel) -> int:
    """Parameters of the linear layers but the last, which are what is held in 4 bits."""
    last = model.get_output_embeddings()
    linear = (one for one in model.modules() if isinstance(one, torch.nn.Linear) and one is not last)
    return sum(one.weight.numel() for one in linear)


def _adapter(model: PreTrainedModel, lora: LoraSettings) -> int:
    """Parameters that an adapter adds, counted on a copy, since adapting a model changes it."""
    from peft import get_peft_model

    with quiet(), torch.device("meta"):
        copy = AutoModelForCausalLM.from_config(model.config)
        adapted = get_peft_model(copy, peft_config(lora, copy))
    return sum(one.numel() for one in adapted.parameters() if one.requires_grad)


def _memory(cfg: RunConfig, seen: Seen, shape: Shape | None, prompt: int, *, judged: bool) -> Iterator[str]:
    if shape is None:
        yield "not known without a config.json that names attention heads"
        return
    new, judged_new = _new_tokens(cfg, seen), _judged_tokens(cfg, seen) if judged else None
    judge = _shape(seen, cfg.settings.reward.lora) if isinstance(cfg.settings, rlsf.Settings) else None
    found = memory.phases(cfg, shape, prompt=prompt, new=new, judged_new=judged_new, reward=judge)
    if not found:
        yield "nothing is trained or judged"
        return
    yield f"per device ({seen.device}), longest prompt {prompt:,} tokens, traces of {new:,} new tokens"
    for phase in found:
        yield phase.name
        width = max(len(line.what) for line in phase.lines)
        for line in phase.lines:
            yield f"  {line.what:<{width}}  {_gib(line.num_bytes):>10}  {line.how}"
        yield f"  {'in all':<{width}}  {_gib(phase.num_bytes):>10}"
    most = _gib(max(phase.num_bytes for phase in found))
    yield f"largest: {most}, if every trace is as long as it may be; without what libraries keep for themselves"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:,.1f} GiB" if num_bytes >= GIB / 10 else f"{num_bytes / 2**20:,.1f} MiB"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

"""Mix two checkpoints of one architecture: theta = (1 - ratio) a + ratio b, for every tensor.

Tensors are read from the safetensors files one at a time, mixed in float32 and written in the data type that `a` has.
Weights that a model ties stand in its files once, and so in the mix.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from inward import models
from inward.errors import ModelError, SettingsError
from inward.parsing import parse_json
from inward.settings import ModelSettings

SHARD_BYTES = 4 * 10**9
"""Most bytes in a file of weights, unless a single tensor is larger: what a mix holds in memory at once."""

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ARCHITECTURE = (
    "model_type",
    "architectures",
    "tie_word_embeddings",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
)
"""Keys of config.json under which tensors of the same names and shapes may still be different models."""


def check(a: Path, b: Path, *, trust_remote_code: bool = False) -> None:
    """Refuse two model folders that cannot be mixed, without reading their weights.

    Args:
        a: The model at ratio 0.
        b: The model at ratio 1.
        trust_remote_code: Run Python code that comes with their tokenizers.

    Raises:
        ModelError: One has no safetensors or is quantised; or they differ in architecture, in vocabulary, or in the
            names, shapes or kinds of their tensors. The message says in what.
    """
    _check_configs(a, b)
    with ExitStack() as opened:
        _check_tensors(a, b, _weights(a, opened), _weights(b, opened))
    _check_vocabularies(a, b, trust_remote_code=trust_remote_code)


def mix(
    a: Path,
    b: Path,
    ratio: float,
    out: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    trust_remote_code: bool = False,
) -> None:
    """Write the mix of two models as a folder that `AutoModelForCausalLM.from_pretrained` loads.

    Configuration, tokenizer and generation settings are those of `a`, at every ratio. Ratios 0 and 1 give the very
    values of `a` and `b`, in the data types of `a`. Tensors of whole numbers or truth values are copied.

    Args:
        a: The model at ratio 0.
        b: The model at ratio 1.
        ratio: Any finite number; below 0 or above 1 it extrapolates.
        out: The folder to fill; new or empty.
        shard_bytes: Most bytes of a file of weights; a larger tensor gets a file of its own.
        trust_remote_code: Run Python code that comes with their tokenizers.

    Raises:
        ModelError: The two cannot be mixed, see `check`; tensors of whole numbers differ; a mixed number is too large
            for its data type; or `out` holds files.
        SettingsError: The ratio is not finite.
    """
    if not math.isfinite(ratio):
        raise SettingsError(f"a ratio must be a finite number, got {ratio}")
    if out.is_dir() and any(out.iterdir()):
        raise ModelError(f"{out} holds files already; mix into a new folder")
    check(a, b, trust_remote_code=trust_remote_code)
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        first, second = _weights(a, opened), _weights(b, opened)
        mixed = (
            (name, _mixed(name, file.get_tensor(name), second[name].get_tensor(name), ratio))
            for name, file in first.items()
        )
        _save(mixed, out, shard_bytes)
    for file in (
        a / "config.json",
        *a.glob("*.py"),
    ):  # code that comes with a model is part of it, and runs only if asked
        shutil.copyfile(file, out / file.name)
    models.copy_tokenizer(a, out)


def _mixed(name: str, a: torch.Tensor, b: torch.Tensor, ratio: float) -> torch.Tensor:
    if not a.is_floating_point():
        if not torch.equal(a, b):
            raise ModelError(f"tensor {name} holds {a.dtype} that differ in the two models, and cannot be mixed")
        return a
    if ratio == 0:
        return a
    x, y = a.float(), b.float()
    mixed = b.to(a.dtype) if ratio == 1 else x.mul(1 - ratio).add_(y, alpha=ratio).to(a.dtype)
    if bool((x.isfinite() & y.isfinite() & ~mixed.float().isfinite()).any()):
        raise ModelError(f"tensor {name} has numbers too large for {a.dtype} at ratio {ratio:g}; take one nearer to 0")
    return mixed


def _save(tensors: Iterator[tuple[str, torch.Tensor]], out: Path, shard_bytes: int) -> None:
    """Write tensors in files of bounded size, with an index where there are several."""
    files: list[list[str]] = []
    total = held = 0
    shard: dict[str, torch.Tensor] = {}

    def write() -> None:
        files.append([*shard])
        save_file(shard, out / f"{len(files)}.safetensors", metadata={"format": "pt"})
        shard.clear()

    for name, tensor in tensors:
        if shard and held + tensor.nbytes > shard_bytes:
            write()
            held = 0
        shard[name] = tensor
        held += tensor.nbytes
        total += tensor.nbytes
    write()
    if len(files) == 1:
        (out / "1.safetensors").rename(out / WEIGHTS)
        return
    weight_map: dict[str, str] = {}
    for number, names in enumerate(files, start=1):
        file = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        (out / f"{number}.safetensors").rename(out / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (out / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _weights(folder: Path, opened: ExitStack) -> dict[str, Any]:
    """Every tensor's name, in the order of the files, and the open file that holds it."""
    weights: dict[str, Any] = {}
    for path in _files(folder):
        try:
            file: Any = opened.enter_context(safe_open(path, framework="pt"))
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} cannot be read as safetensors: {error}; get the model again") from error
        weights |= dict.fromkeys(file.keys(), file)
    return weights


def _files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise ModelError(f"{folder} has neither {WEIGHTS} nor {INDEX}; only safetensors are mixed, so convert it first")
    names = _json(folder / INDEX).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ModelError(f"{folder / INDEX} has no weight_map; get the model again")
    return [folder / name for name in sorted(set(names.values()))]


def _check_configs(a: Path, b: Path) -> None:
    first, second = (_json(folder / "config.json") for folder in (a, b))
    for folder, config in ((a, first), (b, second)):
        if (folder / "adapter_config.json").exists():
            raise ModelError(
                f"{folder} has an adapter beside its weights, which would be left out; merge it into them first"
            )
        if "quantization_config" in config:
            raise ModelError(
                f"{folder} is quantised, and its numbers cannot be mixed; take the weights it was made from"
            )
    for key in ARCHITECTURE:
        # Older versions of transformers leave out what has its default value, so a missing key says nothing.
        if key in first and key in second and first[key] != second[key]:
            raise ModelError(
                f"the models differ in {key}: {first[key]!r} in {a}, {second[key]!r} in {b}; "
                "mix models of one architecture"
            )


def _check_tensors(a: Path, b: Path, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    for here, there, folder, other in ((first, second, a, b), (second, first, b, a)):
        odd = sorted(here.keys() - there.keys())
        if odd:
            more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            raise ModelError(f"tensor {odd[0]}{more} is in {folder} and not in {other}; mix models of one architecture")
    for name in first:
        one, two = first[name].get_slice(name), second[name].get_slice(name)
        if one.get_shape() != two.get_shape():
            raise ModelError(f"tensor {name} has the shape {one.get_shape()} in {a} and {two.get_shape()} in {b}")
        types = one.get_dtype(), two.get_dtype()
        if types[0] != types[1] and not all("F" in one for one in types):  # F32, BF16, F8_E4M3, ...
            raise ModelError(
                f"tensor {name} is {types[0]} in {a} and {types[1]} in {b}; only floats of two types are mixed"
            )


def _check_vocabularies(a: Path, b: Path, *, trust_remote_code: bool) -> None:
    settings = ModelSettings(trust_remote_code=trust_remote_code)
    first, second = (models.load_tokenizer(folder, settings).get_vocab() for folder in (a, b))
    odd = sorted(token for token in first.keys() | second.keys() if first.get(token) != second.get(token))
    if odd:
        ids = [f"{vocabulary.get(odd[0], 'missing')} in {folder}" for vocabulary, folder in ((first, a), (second, b))]
        raise ModelError(
            f"the vocabularies differ in {len(odd)} tokens, so the embeddings mean different things: "
            f"the id of {odd[0]!r} is {ids[0]}, {ids[1]}"
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}; get the model again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object; get the model again")
    return value

"""Load a causal language model and its tokenizer, render prompts, and map tokens to characters.

Weights come from safetensors and no code from the model's folder runs, unless the user asked for either by name.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jinja2 import TemplateError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from inward.errors import DataError, ModelError, SettingsError
from inward.settings import ModelSettings
from inward.types import Prompt

MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.jinja", "*.txt", "*.py", "*.bin")
PICKLED_ADAPTER = "adapter_model.bin"
TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "chat_template*",
    "*.model",
    "generation_config.json",
)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A loaded model, ready to sample and to score."""

    name: str
    path: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    chat_template: str
    eos_ids: tuple[int, ...]
    """Every id that ends a completion; empty for a model without one."""
    pad_id: int
    """Fills masked positions; any valid id serves, since the attention mask is always passed."""
    context: int
    """Most tokens of prompt and completion together."""
    default_new_tokens: int | None
    """`max_new_tokens` of the model's own generation config."""


def resolve(name: str, settings: ModelSettings) -> Path:
    """The folder of a model: a local path, or a snapshot of a hub repository."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(f"{name} is a folder without config.json, so it is no transformers model")
        return folder
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"no model folder at {name}: give a folder, a hub id (owner/name) or embedded:<name>")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [p for p in MODEL_FILES if p != "*.bin" or settings.allow_pickle]
    try:
        return Path(snapshot_download(name, revision=settings.revision, allow_patterns=patterns))
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"model {name!r} is neither a folder nor reachable on the hub: {str(error).splitlines()[0]}"
        ) from error


def device_type(settings: ModelSettings) -> str:
    """The type of the device asked for, whether this machine has one or not; of the best one present for `auto`."""
    return pick_device(settings).type if settings.device == "auto" else torch.device(settings.device).type


def pick_device(settings: ModelSettings) -> torch.device:
    """The device asked for, or the best one present.

    Raises:
        SettingsError: this machine has no such device.
    """
    if settings.device != "auto":
        device = torch.device(settings.device)
        present = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
        if not present.get(device.type, lambda: True)():
            raise SettingsError(f"model.device={settings.device}: there is no such device here; use cpu or auto")
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def load_model(
    path: Path,
    settings: ModelSettings,
    dtype: str | None = None,
    *,
    scalar_head: bool = False,
    quantization: Any = None,
) -> PreTrainedModel:
    """Load the weights in a folder.

    Args:
        path: the folder.
        settings: how.
        dtype: overrides the settings' one.
        scalar_head: a head of one number, drawn at random where the folder has none, in place of the last layer.
        quantization: a quantisation of transformers, by which layers are packed as they are read.
    """
    _refuse_pickled_adapter(path, settings)
    has_safetensors = any(path.glob("*.safetensors"))
    if not has_safetensors and not settings.allow_pickle:
        found = "pickled weights" if any(path.glob("*.bin")) else "no weights"
        raise ModelError(
            f"{path} holds {found} and no safetensors; convert them, or set model.allow_pickle=true if you trust them"
        )
    device = pick_device(settings)
    wanted = dtype or settings.dtype
    if wanted == "auto" and device.type == "cpu":
        wanted = "float32"
    try:
        auto = AutoModelForSequenceClassification if scalar_head else AutoModelForCausalLM
        model = auto.from_pretrained(
            path,
            dtype=wanted,
            use_safetensors=has_safetensors,
            trust_remote_code=settings.trust_remote_code,
            **({"num_labels": 1} if scalar_head else {}),
            **({"quantization_config": quantization, "device_map": {"": device}} if quantization else {}),
        )
    except SafetensorError as error:
        raise ModelError(f"the weights in {path} are damaged ({error}); copy or download them again") from error
    except (OSError, ValueError, KeyError, ImportError) as error:
        what = "model with a scalar head" if scalar_head else "causal language model"
        raise ModelError(f"cannot load a {what} from {path}: {str(error).strip()}") from error
    return (model if quantization else model.to(device)).eval()  # pyright: ignore[reportArgumentType]


def _refuse_pickled_adapter(path: Path, settings: ModelSettings) -> None:
    """Transformers reads weights of this name where `transformers_weights` of the configuration says so."""
    if (path / PICKLED_ADAPTER).exists() and not settings.allow_pickle:
        raise ModelError(
            f"{path} holds {PICKLED_ADAPTER}, a pickle that transformers may take for the model's weights: convert the "
            "adapter to safetensors, or remove that file and adapter_config.json"
        )


def load_tokenizer(path: Path, settings: ModelSettings) -> PreTrainedTokenizerBase:
    """Load the tokenizer in a folder."""
    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=settings.trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"cannot load a tokenizer from {path}: {str(error).strip()}") from error


def load(path: Path, settings: ModelSettings, *, name: str | None = None) -> Policy:
    """Load a model and its tokenizer for sampling and scoring.

    The model's own generation config is set aside: a repetition penalty or a default temperature in it would change
    what is sampled. Its end-of-sequence ids and its `max_new_tokens` are kept in the policy.
    """
    model, tokenizer = load_model(path, settings), load_tokenizer(path, settings)
    own = model.generation_config or GenerationConfig()
    config = model.config.get_text_config()
    eos_ids = _id_set(own.eos_token_id) | _id_set(config.eos_token_id) | _id_set(tokenizer.eos_token_id)
    pad_id = next(
        (i for i in (tokenizer.pad_token_id, own.pad_token_id, *sorted(eos_ids)) if isinstance(i, int) and i >= 0),
        0,
    )
    model.generation_config = GenerationConfig(
        eos_token_id=sorted(eos_ids) or None, pad_token_id=pad_id, bos_token_id=own.bos_token_id
    )
    context = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    return Policy(
        name=name or str(path),
        path=path,
        model=model,
        tokenizer=tokenizer,
        chat_template=settings.chat_template,
        eos_ids=tuple(sorted(eos_ids)),
        pad_id=pad_id,
        context=int(context),
        default_new_tokens=own.max_new_tokens,
    )


def check_same_tokens(policy: Policy, reference: Policy) -> None:
    """Refuse a reference model whose token ids mean other tokens: it would read other texts than the policy wrote.

    Raises:
        ModelError: their vocabularies differ; the message says in what.
    """
    own, other = policy.tokenizer.get_vocab(), reference.tokenizer.get_vocab()
    odd = sorted(token for token in own.keys() | other.keys() if own.get(token) != other.get(token))
    if odd:
        raise ModelError(
            f"{reference.name} cannot judge the tokens of {policy.name}, since {len(odd)} of them differ: the id of "
            f"{odd[0]!r} is {other.get(odd[0], 'missing')} there and {own.get(odd[0], 'missing')} here; take a "
            "reference with the same tokenizer"
        )


def _id_set(ids: Any) -> set[int]:
    return set() if ids is None else {ids} if isinstance(ids, int) else set(ids)


def check_folder(path: Path, settings: ModelSettings) -> None:
    """Refuse early, without reading weights, a folder whose configuration or adapter cannot be loaded."""
    _refuse_pickled_adapter(path, settings)
    try:
        AutoConfig.from_pretrained(path, trust_remote_code=settings.trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path} is no model that transformers can load: {str(error).strip()}") from error


def render(prompt: Prompt, policy: Policy) -> list[int]:
    """Token ids of a prompt, ready to be continued.

    A conversation goes through the tokenizer's chat template. A text goes through it as one user turn where
    `chat_template` says so, and is tokenised as it stands otherwise.
    """
    tokenizer, has_template = policy.tokenizer, bool(getattr(policy.tokenizer, "chat_template", None))
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages or ()]
    if prompt.text is not None:
        wanted = policy.chat_template == "always" or (policy.chat_template == "auto" and has_template)
        messages = [{"role": "user", "content": prompt.text}] if wanted else []
    if messages and not has_template:
        raise DataError(
            f"prompt {prompt.id}: {policy.name} has no chat template; give text prompts in the format "
            "plain, and model.chat_template=never"
        )
    if messages:
        try:
            text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise DataError(
                f"prompt {prompt.id}: the chat template of {policy.name} refuses it: {error}; set "
                "model.chat_template=never, or give messages that it takes"
            ) from error
        except Exception as error:  # a template can divide by zero, run out of memory, and whatever else Python can
            raise DataError(
                f"prompt {prompt.id}: the chat template of {policy.name} fails on it ({type(error).__name__}: {error})"
                "; mend the template, or set model.chat_template=never"
            ) from error
    else:
        text = prompt.text or ""
    try:
        ids = encode(tokenizer, cast("str", text), special=not messages)
    except DataError as error:
        raise DataError(f"prompt {prompt.id}: {error}") from error
    if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]  # some tokenizers end every text, which would leave nothing to continue
    if not ids:
        raise DataError(f"prompt {prompt.id} has no tokens under the tokenizer of {policy.name}")
    return ids


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> list[int]:
    """Token ids of a text, with or without the special tokens that the tokenizer adds.

    Raises:
        DataError: the tokenizer has no token for some character and none for the unknown.
    """
    try:
        return list(tokenizer(text, add_special_tokens=special)["input_ids"])  # pyright: ignore[reportArgumentType]
    except Exception as error:  # the Rust tokenizers raise bare Exception
        raise DataError(f"the tokenizer cannot encode {text[:60]!r}: {error}") from error


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Text of token ids without special tokens, spaces untouched."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def token_ends(
    tokenizer: PreTrainedTokenizerBase, completions: Sequence[Sequence[int]], texts: Sequence[str]
) -> list[tuple[int, ...]]:
    """For each completion, how many characters of its text are written once token t is.

    Tokenising the text again gives offsets at once where it yields the same ids; where it does not, or where the
    tokenizer has no offsets, the tokens are decoded one by one.
    """
    special = set(tokenizer.all_special_ids)
    encoded = (
        tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
        if tokenizer.is_fast and texts
        else None
    )
    result: list[tuple[int, ...]] = []
    for row, (ids, text) in enumerate(zip(completions, texts, strict=True)):
        plain = [i for i in ids if i not in special]
        if encoded is not None and list(encoded["input_ids"][row]) == plain:  # pyright: ignore[reportArgumentType, reportIndexIssue]
            offsets = iter(encoded["offset_mapping"][row])  # pyright: ignore[reportArgumentType, reportIndexIssue]
            ends, written = [], 0
            for token in ids:
                if token not in special:
                    written = max(written, next(offsets)[1])
                ends.append(written)
            result.append(tuple(ends))
        else:
            result.append(_ends_by_decoding(tokenizer, ids, text))
    return result


def _ends_by_decoding(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], text: str) -> tuple[int, ...]:
    """Decode a sliding window: a token is written once the window grows by whole characters."""
    ends: list[int] = []
    start = read = written = 0
    for stop in range(1, len(ids) + 1):
        known, window = decode(tokenizer, ids[start:read]), decode(tokenizer, ids[start:stop])
        if len(window) > len(known) and not window.endswith("\ufffd"):
            written = min(written + len(window) - len(known), len(text))
            start, read = read, stop
        ends.append(written)
    if ends and ends[-1] < len(text):
        pending = min(read, len(ends) - 1)
        ends[pending:] = [len(text)] * (len(ends) - pending)
    return tuple(ends)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Switch a model to evaluation mode and back."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy tokenizer, chat template and generation config byte for byte from one model folder to another."""
    for pattern in TOKENIZER_FILES:
        for file in source.glob(pattern):
            shutil.copyfile(file, target / file.name)

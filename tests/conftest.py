"""Fixtures shared by all tests: a small random model, and reference models where they are present."""

import gc
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny, and tests may run side by side

from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

SHARED = Path(os.environ.get("INWARD_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """The garbage collector leaves alone what is there: after each training it would go through all that torch has."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Files are not forced to the disk, which takes milliseconds each: no test cuts the power."""
    with mock.patch("os.fsync", lambda handle: None):
        yield


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """A file or folder of the reference models and data, which are not part of the project."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"no {name} under {SHARED}; set INWARD_SHARED to the folder of reference models and data")
        return path

    return find


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers with the tokenizer of the embedded models."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from inward.organism.tokenizer import make_tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.4,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

"""Files and folders that are whole or absent, whenever the process is killed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

from inward.errors import ModelError, RunFolderError

_TEMPORARY = re.compile(r"^\..+\.tmp-\d+$")

_MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "inward_confidence.json",
    "adapter_config.json",
    "tokenizer*.json",
    "*tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.safetensors",
    "*.bin",
    "*.index.json",
)
# Written by the Hugging Face trainer beside the weights; holds paths and dates, not the model.
_NOT_THE_MODEL = "training_args.bin"


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Write a file so that it is either absent (or as before) or whole; parents are made.

    Raises:
        RunFolderError: The disk is full or the folder not writable.
    """
    with atomic(path) as file:
        file.write(data)


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write into, which takes the place of `path` once the body has ended well; parents are made.

    Raises:
        RunFolderError: The disk is full or the folder not writable.
    """
    temporary = _temporary(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync(path.parent)


def build_atomic(path: Path, make: Callable[[Path], object]) -> None:
    """Make a folder so that it is either absent or whole.

    Args:
        path: The folder; must not exist.
        make: Fills the empty folder it is given, a sibling of `path` that is renamed at the end.

    Raises:
        RunFolderError: The disk is full or the folder not writable.
    """
    temporary = _temporary(path)
    with explained(path):
        temporary.mkdir(parents=True)
    try:
        with explained(path, only_full=True):
            make(temporary)
        with explained(path):
            for folder, _, files in os.walk(temporary):
                for name in files:
                    _sync(Path(folder, name))
                _sync(Path(folder))
            os.replace(temporary, path)
            _sync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def append_line(path: Path, line: str) -> None:
    """Append a line to a file; where a kill left the last line torn, start on a fresh one.

    Raises:
        RunFolderError: The disk is full or the folder not writable.
    """
    with explained(path), path.open("ab+") as file:
        torn = b""
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            torn = b"" if file.read(1) == b"\n" else b"\n"
        file.write(torn + line.encode("utf-8") + b"\n")


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a run folder and below."""
    with explained(folder):
        for parent, folders, files in os.walk(folder):
            for name in filter(is_temporary, files):
                Path(parent, name).unlink()
            for name in filter(is_temporary, folders):
                shutil.rmtree(Path(parent, name))
            folders[:] = [name for name in folders if not is_temporary(name)]


def is_temporary(name: str) -> bool:
    """Return whether a file or folder of this name is one under way."""
    return _TEMPORARY.match(name) is not None


@contextmanager
def explained(path: Path, *, only_full: bool = False) -> Iterator[None]:
    """Turn what the operating system refuses into a RunFolderError that says what is kept.

    Args:
        path: What is being written.
        only_full: Explain a full disk alone, and let every other error through.
    """
    try:
        yield
    except Exception as error:
        if _is_disk_full(error):
            raise RunFolderError(
                f"the disk is full: {path} could not be written; every file finished before it is kept: "
                "free some space and run the same command again to continue from there"
            ) from error
        if only_full or not isinstance(error, OSError):
            raise
        raise RunFolderError(
            f"cannot write {path}: {error.strerror or error}; every file finished before it is kept: "
            "make it writable, or use another --out"
        ) from error


def hash_folder(path: str | Path) -> str:
    """Return the sha256 over the names and contents of a model folder's own files.

    Weights, configuration and tokenizer count; a README or the state of a trainer beside them does not.

    Raises:
        ModelError: The folder holds no such file.
    """
    folder = Path(path)
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    names = [name for name in names if name != _NOT_THE_MODEL and any(fnmatch(name, p) for p in _MODEL_FILES)]
    if not names:
        raise ModelError(f"{folder} holds no model: no config.json and no weights; check the path")
    total = hashlib.sha256()
    for name in names:
        with (folder / name).open("rb") as file:
            total.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp-{os.getpid()}")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_disk_full(error: BaseException) -> bool:
    if error.__context__ is not None and _is_disk_full(error.__context__):
        return True  # torch closes its file on the way out, which fails with an error that does not name the cause
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors and tokenizers are written in Rust and report it as an error class of their own; torch writes its
    # archives in C++, and knows the place where it could not go on and no reason.
    return any(words in str(error) for words in ("No space left on device", "PytorchStreamWriter", "unexpected pos"))

"""What else befalls a run: each disaster, the error that it ends in, the remedy, and the same command again."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from chaos_runs import COMMANDS, Running, left_in_peace, spans, start, strike

Outcome = Mapping[str, str]
Judge = Callable[[Running, Path, Path], Outcome]

RLSF = COMMANDS["rlsf"]
DAY = 86_400
PATIENCE = 10.0
"""Seconds that a scheduler gives after SIGTERM."""


def all_of_them(home: Path, peaceful: Path, judged: Judge) -> dict[str, Outcome]:
    """Every disaster by name, each in a folder of its own."""
    known: dict[str, Callable[[Path, Path, Judge], Outcome]] = {
        "disk_full": disk_full,
        "read_only_folder": read_only_folder,
        "corrupt_shard": corrupt_shard,
        "truncated_safetensors": partial(truncated, name="checkpoint/model.safetensors", remedy="checkpoint"),
        "truncated_trainer_checkpoint": truncated_trainer_checkpoint,
        "manifest_edited": partial(manifest, edit=lambda text: text.replace('"seed": 0', '"seed": 7')),
        "manifest_no_json": partial(manifest, edit=lambda text: text[: len(text) // 2]),
        "clock_going_back": clock_going_back,
    }
    known |= {f"sigterm_in_{stage}": partial(sigterm, method="rlsf", stage=stage) for stage in spans(peaceful)}
    known |= {f"sigterm_in_train_of_{name}": partial(sigterm, method=name, stage="train") for name in ("rlif", "rlsc")}
    results: dict[str, Outcome] = {}
    for name, disaster in known.items():
        method = name.rpartition("_")[2]
        own = home / (method if method in COMMANDS else "rlsf")
        folder = home / f"disaster_{name}"
        folder.mkdir()
        results[name] = disaster(folder, own if own.exists() else left_in_peace(method, own), judged)
        print(f"{name}: {results[name]['outcome']} {results[name]['said']}".rstrip(), file=sys.stderr)
    return results


def disk_full(folder: Path, peaceful: Path, judged: Judge) -> Outcome:
    """The disk is full at three moments, then has room again; without the right to mount, files cannot grow."""
    errors: list[str] = []
    with _mounted(folder) as remount:
        for size in (100_000, 1_000_000, 3_000_000):
            if remount:
                remount(f"size={size}")
            limit = None if remount else (lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
            errors.append(_refused(folder, limit))
        if remount:
            remount("size=100m")
        return _after(errors, ("cannot write" if remount is None else "disk is full",), folder, peaceful, judged)


def read_only_folder(folder: Path, peaceful: Path, judged: Judge) -> Outcome:
    """A run killed while it trained finds its folder read-only, then writable again."""
    with _mounted(folder) as remount:
        strike("rlsf", "train", peaceful, folder, signal.SIGKILL)
        if not remount and os.geteuid() == 0:
            return {"outcome": "skipped", "said": "root may write anywhere, and nothing can be mounted here"}
        below = [folder / "out", *(path for path in (folder / "out").rglob("*") if path.is_dir())]
        for path in below:
            path.chmod(0o555)
        if remount:
            remount("ro")
        errors = [_refused(folder)]
        if remount:
            remount("rw")
        for path in below:
            path.chmod(0o755)
        return _after(errors, ("cannot write", "out"), folder, peaceful, judged)


def corrupt_shard(folder: Path, peaceful: Path, judged: Judge) -> Outcome:
    """A finished run has a shard with eight bytes changed; the remedy is to delete it."""
    _finished(folder)
    shard = folder / "out/traces/00000.parquet"
    data = bytearray(shard.read_bytes())
    place = random.Random(0).randrange(100, len(data) // 2)
    data[place : place + 8] = bytes(byte ^ 0xFF for byte in data[place : place + 8])
    shard.write_bytes(data)
    return _deleted(shard, folder, peaceful, judged)


def truncated(folder: Path, peaceful: Path, judged: Judge, *, name: str, remedy: str) -> Outcome:
    """A file of a finished run has lost its second half; the remedy is to delete it or its folder."""
    _finished(folder)
    file = folder / "out" / name
    os.truncate(file, file.stat().st_size // 2)
    return _deleted(folder / "out" / remedy, folder, peaceful, judged)


def truncated_trainer_checkpoint(folder: Path, peaceful: Path, judged: Judge) -> Outcome:
    """The weights that a training would resume from have lost their second half, as where the power went."""
    strike("rlsf", "train", peaceful, folder, signal.SIGTERM)
    written = sorted((folder / "out/trainer").glob("checkpoint-*/model.safetensors"))
    for file in written[-1:]:
        os.truncate(file, file.stat().st_size // 2)
    return _again(folder, peaceful, judged)


def manifest(folder: Path, peaceful: Path, judged: Judge, *, edit: Callable[[str], str]) -> Outcome:
    """The manifest is edited by hand after a kill, then put back."""
    strike("rlsf", "train", peaceful, folder, signal.SIGKILL)
    file = folder / "out/manifest.json"
    before = file.read_text(encoding="utf-8")
    file.write_text(edit(before), encoding="utf-8")
    errors = [_refused(folder)]
    file.write_text(before, encoding="utf-8")
    return _after(errors, ("out", "use another --out"), folder, peaceful, judged)


def clock_going_back(folder: Path, peaceful: Path, judged: Judge) -> Outcome:
    """Everything that a killed run left is dated tomorrow, and the clock of the next one goes back while it works."""
    strike("rlsf", "train", peaceful, folder, signal.SIGTERM)
    tomorrow = time.time() + DAY
    for path in (folder / "out").rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    for file in (folder / "out/manifest.json", folder / "out/log.jsonl"):
        file.write_text(file.read_text(encoding="utf-8").replace('"20', '"21'), encoding="utf-8")
    again = start(RLSF, folder, _set_clock_back)
    again.wait()
    file = folder / "out/manifest.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"21', '"20'), encoding="utf-8")
    return judged(again, peaceful, folder)


def sigterm(folder: Path, peaceful: Path, judged: Judge, *, method: str, stage: str) -> Outcome:
    """A scheduler ends the run with SIGTERM: exit code 143 within ten seconds, and the same command goes on."""
    ended = strike(method, stage, peaceful, folder, signal.SIGTERM)
    said = f"exit code {ended.code} after {ended.seconds:.1f} s"
    if ended.code != 128 + signal.SIGTERM or ended.seconds > PATIENCE or "Traceback" in ended.said:
        return {"outcome": "failed", "said": f"{said}: {ended.said[-1000:]}"}
    again = _again(folder, peaceful, judged, method)
    return {**again, "said": f"{said} {again['said']}".rstrip()}


def _finished(folder: Path) -> None:
    running = start(RLSF, folder)
    running.wait()
    assert running.code == 0, running.said


def _refused(folder: Path, before: Callable[[], object] | None = None) -> str:
    """The error that the command ends in."""
    running = start(RLSF, folder, before or (lambda: None))
    running.wait()
    return running.error() or f"no clear error, exit code {running.code}: {running.said[-1000:]}"


def _again(folder: Path, peaceful: Path, judged: Judge, method: str = "rlsf") -> Outcome:
    running = start(COMMANDS[method], folder)
    running.wait()
    return judged(running, peaceful, folder)


def _deleted(path: Path, folder: Path, peaceful: Path, judged: Judge) -> Outcome:
    """The command names what is damaged; once that is deleted it makes it anew."""
    errors = [_refused(folder)]
    subprocess.run(["rm", "-r", path], check=True)
    return _after(errors, (str(path.relative_to(folder)), "delete"), folder, peaceful, judged)


def _after(errors: list[str], words: tuple[str, ...], folder: Path, peaceful: Path, judged: Judge) -> Outcome:
    """Every error names what it should, and once its cause is gone the same command ends as it would have."""
    unclear = [error for error in errors if any(word not in error for word in words)]
    again = _again(folder, peaceful, judged)
    if unclear or again["outcome"] != "identical":
        return {"outcome": "failed", "said": " ".join([*unclear, again["said"]])}
    return {"outcome": "clear_error", "said": errors[-1]}


@contextmanager
def _mounted(folder: Path) -> Iterator[Callable[[str], object] | None]:
    """A file system of its own on a folder; gives what changes its options, None where none can be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _set_clock_back() -> None:
    """Let the time of day in this process run backwards, an hour a second."""
    begun, real = time.monotonic(), time.time
    time.time = lambda: real() - 3600 * (time.monotonic() - begun)

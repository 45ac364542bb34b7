"""What else befalls a run: disasters, the errors they end in, the remedies, and the same command again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path

from chaos_runs import COMMANDS, STAGES, Running, events, interrupt, left_in_peace, start, strike

Outcome = Mapping[str, str]
Judge = Callable[[Running, Path, Path], Outcome]
"""Compares a run that was gone on with, and the one left in peace, in these two folders."""
Remount = Callable[[str], object]
"""Changes the options of the file system that a run lies on."""

DAY = 86_400
PATIENCE = 10.0
"""Seconds that a scheduler gives after SIGTERM."""


@dataclass(frozen=True, kw_only=True)
class Disaster:
    """Something that befalls a run, and what the command has to say of it."""

    finds: str
    """`nothing`; a run that was ended in its `training`; or one that is `finished`."""
    befalls: Callable[[Path, Remount | None], list[str] | None]
    """Does harm in a folder, starts the command, then undoes the harm as the command says it. Returns the errors that
    it said; None where this machine does not allow it, as where no file system can be mounted."""
    words: tuple[str, ...] = ()
    """The file and the remedy, which every error names; without them there is to be none."""


def in_a_row(known: Mapping[str, Disaster], method: str, home: Path, judged: Judge) -> dict[str, Outcome]:
    """Outcomes of disasters that befall one run after the other, which then ends like the one left in peace."""
    folder, peaceful = home / f"disasters_of_{method}", _peaceful(method, home)
    folder.mkdir()
    outcomes: dict[str, Outcome] = {}
    ends: list[Outcome] = []
    with _mounted(folder) as remount:
        for finds, group in groupby(known.items(), key=lambda item: item[1].finds):
            if finds == "training":
                interrupt(method, folder)
            elif finds == "finished":
                ends.append(_again(method, folder, peaceful, judged))
            for name, disaster in group:
                outcomes[name] = outcome(disaster, disaster.befalls(folder, remount))
                print(f"{name}: {outcomes[name]['outcome']} {outcomes[name]['said']}".rstrip(), file=sys.stderr)
        ends.append(_again(method, folder, peaceful, judged))
    unlike = [end for end in ends if end["outcome"] != "identical"]
    return {name: unlike[0] if unlike else said for name, said in outcomes.items()}


def outcome(disaster: Disaster, errors: list[str] | None) -> Outcome:
    """Whether every error names the file and the remedy, or there is none where none is due."""
    if errors is None:
        return {"outcome": "skipped", "said": "not to be had on this machine"}
    wrong = [error for error in errors if not disaster.words or any(word not in error for word in disaster.words)]
    if wrong or bool(errors) != bool(disaster.words):
        return {"outcome": "failed", "said": " ".join(wrong) or "no error"}
    return {"outcome": "clear_error" if errors else "identical", "said": " ".join(errors[-1:])}


def disk_full(folder: Path, remount: Remount | None) -> list[str] | None:
    """The disk is full at three moments, then has room again."""
    if remount is None:
        return None
    errors: list[str] = []
    for size in (100_000, 1_000_000, 3_000_000):
        remount(f"size={size}")
        errors.append(_refused(folder))
    remount("size=100m")
    return errors


def read_only(folder: Path, remount: Remount | None) -> list[str] | None:
    """The folder is read-only, then writable again."""
    if remount is None and os.geteuid() == 0:
        return None  # root may write anywhere
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
    return errors


def manifest(folder: Path, remount: Remount | None, *, edit: Callable[[str], str]) -> list[str]:
    """The manifest is edited by hand, then put back."""
    file = folder / "out/manifest.json"
    before = file.read_text(encoding="utf-8")
    file.write_text(edit(before), encoding="utf-8")
    errors = [_refused(folder)]
    file.write_text(before, encoding="utf-8")
    return errors


def truncated_trainer_checkpoint(folder: Path, remount: Remount | None) -> list[str]:
    """The weights to resume from have lost their second half, as where the power went."""
    _cut(max((folder / "out/trainer").glob("checkpoint-*/model.safetensors")))
    return []


def clock_going_back(folder: Path, remount: Remount | None, *, method: str) -> list[str]:
    """Everything is dated ahead, files by a day and the log by a century; then the clock goes back during the run."""
    out = folder / "out"
    tomorrow = time.time() + DAY
    for path in out.rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    for file in (out / "manifest.json", out / "log.jsonl"):
        file.write_text(file.read_text(encoding="utf-8").replace('"20', '"21'), encoding="utf-8")
    known = len(events(out))
    running = start(COMMANDS[method], folder, _set_clock_back)
    running.wait()
    file = out / "manifest.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"21', '"20'), encoding="utf-8")
    times = [event["time"] for event in events(out)[known:]]
    if running.code or not times or any(later >= earlier for earlier, later in pairwise(times)):
        return [running.error() or f"exit code {running.code}, the log at {times[:3]}: {running.said[-1000:]}"]
    return []


def corrupt_shard(folder: Path, remount: Remount | None) -> list[str]:
    """A shard has eight bytes changed; the remedy is to delete it."""
    shard = folder / "out/traces/00000.parquet"
    data = bytearray(shard.read_bytes())
    place = random.Random(0).randrange(100, len(data) // 2)
    data[place : place + 8] = bytes(byte ^ 0xFF for byte in data[place : place + 8])
    shard.write_bytes(data)
    errors = [_refused(folder)]
    shard.unlink()
    return errors


def truncated_safetensors(folder: Path, remount: Remount | None) -> list[str]:
    """The trained weights have lost their second half; the remedy is to delete the checkpoint."""
    _cut(folder / "out/checkpoint/model.safetensors")
    errors = [_refused(folder)]
    shutil.rmtree(folder / "out/checkpoint")
    return errors


DISASTERS: dict[str, Disaster] = {
    "disk_full": Disaster(
        finds="nothing", befalls=disk_full, words=("the disk is full: out", "free some space and run the same command")
    ),
    "read_only_folder": Disaster(
        finds="training", befalls=read_only, words=("cannot write out", "make it writable, or use another --out")
    ),
    "manifest_edited": Disaster(
        finds="training",
        befalls=partial(manifest, edit=lambda text: text.replace('"seed": 0', '"seed": 7')),
        words=("out belongs to another run: seed: this folder has 7, asked for 0", "use another --out"),
    ),
    "manifest_no_json": Disaster(
        finds="training",
        befalls=partial(manifest, edit=lambda text: text[: len(text) // 2]),
        words=("out/manifest.json is damaged", "use another --out"),
    ),
    "truncated_trainer_checkpoint": Disaster(finds="training", befalls=truncated_trainer_checkpoint),
    "clock_going_back": Disaster(finds="training", befalls=partial(clock_going_back, method="rlsf")),
    "corrupt_shard": Disaster(
        finds="finished",
        befalls=corrupt_shard,
        words=("out/traces/00000.parquet is damaged", "delete that file and run the same command"),
    ),
    "truncated_safetensors": Disaster(
        finds="finished",
        befalls=truncated_safetensors,
        words=("out/checkpoint/model.safetensors is damaged", "delete out/checkpoint and run the same command"),
    ),
}
"""Of RLSF."""

ONLINE = {
    "clock_going_back_in_rlif": Disaster(finds="training", befalls=partial(clock_going_back, method="rlif")),
}
"""Of RLIF, which reads again what its trainer has written."""

TERMINATED = [*(("rlsf", stage) for stage in STAGES), ("rlif", "train"), ("rlsc", "train")]
"""Methods and stages that SIGTERM comes in."""


def sigterm(home: Path, judged: Judge) -> dict[str, Outcome]:
    """A scheduler ends a run with SIGTERM: exit code 143 within ten seconds, and the same command goes on."""
    outcomes: dict[str, Outcome] = {}
    for method, stage in TERMINATED:
        name = f"sigterm_in_{stage}_of_{method}"
        folder, peaceful = home / name, _peaceful(method, home)
        folder.mkdir()
        ended = strike(method, stage, peaceful, folder, signal.SIGTERM)
        said = f"exit code {ended.code} after {ended.seconds:.1f} s"
        if ended.code != 128 + signal.SIGTERM or ended.seconds > PATIENCE or "Traceback" in ended.said:
            outcomes[name] = {"outcome": "failed", "said": f"{said}: {ended.said[-1000:]}"}
        else:
            end = _again(method, folder, peaceful, judged)
            outcomes[name] = {**end, "said": f"{said} {end['said']}".rstrip()}
        print(f"{name}: {outcomes[name]['outcome']} {outcomes[name]['said']}", file=sys.stderr)
    return outcomes


def _peaceful(method: str, home: Path) -> Path:
    return home / method if (home / method).exists() else left_in_peace(method, home / method)


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _refused(folder: Path) -> str:
    """The error that the command ends in."""
    running = start(COMMANDS["rlsf"], folder)
    running.wait()
    return running.error() or f"no clear error, exit code {running.code}: {running.said[-1000:]}"


def _again(method: str, folder: Path, peaceful: Path, judged: Judge) -> Outcome:
    running = start(COMMANDS[method], folder)
    running.wait()
    return judged(running, peaceful, folder)


@contextmanager
def _mounted(folder: Path) -> Iterator[Remount | None]:
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
    """Let the time of day run backwards in this process, an hour a second, for every module of ours and `time.time`."""
    begun, real = time.monotonic(), time.time

    def shown() -> float:
        return real() - 3600 * (time.monotonic() - begun)

    class Backwards(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.fromtimestamp(shown(), tz)

    time.time = shown
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "inward" and vars(module).get("datetime") is datetime:
            vars(module)["datetime"] = Backwards

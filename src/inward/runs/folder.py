"""The run folder: created or resumed, locked, and written one whole file at a time."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, final

from inward.errors import RunFolderError
from inward.parsing import parse_json
from inward.runs import files
from inward.runs.crew import ALONE, Crew
from inward.runs.identity import refuse_other, version_changes
from inward.runs.records import from_json, to_json
from inward.runs.shards import Records, checked_count, damaged, shard_path, write_shard
from inward.runs.weights import check_weights
from inward.types import Manifest

Input = TypeVar("Input")
R = TypeVar("R")

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the name of a stage, the number of inputs done and the number of inputs in all."""

Listener: TypeAlias = Callable[[str, Mapping[str, object]], None]
"""Told of every event that is logged, and of its fields."""

_Span: TypeAlias = tuple[int, int]
_Shards: TypeAlias = Generator[tuple[int, Iterable[R]], None, None]
"""Numbers of shards and their records."""

_MANIFEST, _LOCK, _LOG, _COMPLETE = "manifest.json", "lock", "log.jsonl", "complete.json"
_TIMED_EVENTS = ("shard", "stage_finished", "stage_stopped")


def silent(stage: str, done: int, total: int) -> None:
    """Report no progress."""


def nobody(event: str, fields: Mapping[str, object]) -> None:
    """Listen to nothing."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """Everything a run makes. Get one from `RunFolder.open` to write, from `RunFolder.read` to read.

    Every method that writes raises RunFolderError where the disk is full or the folder not writable. Names of
    stages and files are relative to the folder and may be nested: `before/scored`.
    """

    path: Path
    manifest: Manifest
    """As first written: a resumed folder keeps the versions and the date it was begun with."""
    progress: Progress
    writable: bool
    listener: Listener = nobody
    crew: Crew = ALONE
    """The processes of the run; those that do not lead write nothing."""

    @classmethod
    @contextmanager
    def open(
        cls,
        path: str | Path,
        manifest: Manifest,
        *,
        progress: Progress = silent,
        listener: Listener = nobody,
        crew: Crew = ALONE,
    ) -> Iterator[RunFolder]:
        """Create the folder or resume it, and hold its lock until the context ends; of a crew the leader does so.

        Raises:
            RunFolderError: Another process works in the folder; it belongs to a run of another identity (each
                difference is named); it holds files but no manifest; or it cannot be written.
        """
        path = Path(path)
        if not crew.leads:
            yield cls(path=path, manifest=crew.agree(lambda: manifest), progress=silent, writable=True, crew=crew)
            return
        _refuse_foreign(path)
        with _locked(path):
            files.sweep(path)
            check_weights(path)
            stored = _read_manifest(path) if (path / _MANIFEST).exists() else None
            if stored is not None:
                refuse_other(path, stored, manifest)
            folder = cls(
                path=path, manifest=stored or manifest, progress=progress, writable=True, listener=listener, crew=crew
            )
            if stored is None:
                folder.write_json(_MANIFEST, manifest)
            folder.log("opened", resumed=stored is not None)
            for name, was, now in version_changes(folder.manifest, manifest):
                folder.log("version_changed", name=name, was=was, now=now)
            crew.agree(lambda: folder.manifest)
            yield folder

    @classmethod
    def read(cls, path: str | Path) -> RunFolder:
        """Return a view of the folder for reading; takes no lock, so a run may be under way.

        Raises:
            RunFolderError: There is no manifest, or it is damaged.
        """
        path = Path(path)
        if not (path / _MANIFEST).exists():
            raise RunFolderError(f"{path} is no run folder: it has no {_MANIFEST}; check the path")
        return cls(path=path, manifest=_read_manifest(path), progress=silent, writable=False)

    def map(
        self,
        name: str,
        inputs: Sequence[Input],
        make: Callable[[Sequence[Input]], Iterable[R]],
        record: type[R],
        *,
        shard_size: int,
        shared: bool = True,
    ) -> Records[R]:
        """Make records from inputs, one shard per `shard_size` consecutive inputs; whole shards are kept.

        Args:
            name: The stage, also its folder.
            inputs: In the same order in every session, as the manifest's hashes promise.
            make: Gives the records of a slice of the inputs, any number of them.
            record: Type of the records.
            shard_size: Inputs per shard; cannot change once the first shard is written.
            shared: Whether all processes of a crew make a part of each shard, or the leader all of it.

        Raises:
            RunFolderError: A shard is damaged, or was made from other inputs than asked for now.
            DataError: A record cannot be stored.
        """
        spans = _spans(len(inputs), shard_size)
        if not shared:
            return self._in_turn(name, spans, lambda span: self._led(lambda: make(inputs[slice(*span)])), record)
        return self._in_turn(name, spans, lambda span: self.crew.share(inputs[slice(*span)], make), record)

    def gather(
        self,
        name: str,
        inputs: Sequence[Input],
        make: Callable[[Mapping[int, Sequence[Input]]], _Shards[R]],
        record: type[R],
        *,
        shard_size: int,
    ) -> Records[R]:
        """Make records as `map` does, of many shards at once: each is written when it comes, in whatever order.

        Args:
            name: The stage, also its folder.
            inputs: As in `map`.
            make: Given the inputs of every shard that is not there yet, by number, gives the records of each of them
                with its number; closed where writing fails. A crew's leader alone calls it.
            record: Type of the records.
            shard_size: As in `map`.

        Raises:
            RunFolderError: As in `map`.
            DataError: A record cannot be stored.
        """

        def made(missing: Mapping[int, _Span]) -> _Shards[R]:
            return make({i: inputs[slice(*span)] for i, span in missing.items()})

        return self._stage(name, _spans(len(inputs), shard_size), made, record, follow=_nothing)

    def once(self, name: str, make: Callable[[], Iterable[R]], record: type[R]) -> Records[R]:
        """Make the records of a stage as one shard, also where there are none; see `map`.

        They are written as they are made, and no more than a block of them is held.
        """
        return self._in_turn(name, [(0, 1)], lambda _: self._led(make), record)

    def records(self, name: str, record: type[R]) -> Records[R]:
        """Return the records of a finished stage.

        Raises:
            RunFolderError: The stage is not finished.
        """
        if not (self.path / name / _COMPLETE).exists():
            raise RunFolderError(
                f"{self.path / name} is not complete: run the command that made {self.path} again "
                f"({self.manifest.method}, with --out {self.path}); it continues where it stopped"
            )
        complete = self.read_json(f"{name}/{_COMPLETE}")
        try:
            return Records(self.path / name, record, shards=complete["shards"], length=complete["records"])
        except (KeyError, TypeError) as error:
            raise damaged(self.path / name / _COMPLETE, error) from error

    def build(self, name: str, make: Callable[[Path], object]) -> Path:
        """Make a folder such as `checkpoint` in one step, unless it is there already, and return its path.

        Args:
            name: The folder to be.
            make: Fills the empty folder it is given; what it raises leaves nothing behind.
        """
        self._assert_writable()
        path = self.path / name
        if self.crew.leads and not path.exists():
            files.build_atomic(path, make)
            self.log("built", name=name)
        return path

    def write_json(self, name: str, value: object) -> None:
        """Write records, enums, tuples, dicts and plain values as strict JSON; NaN and inf become null."""
        self.write_text(name, to_json(value, indent=2) + "\n")

    def read_json(self, name: str) -> Any:
        """Return what a JSON file holds; `inward.runs.from_json` makes a record of it.

        Raises:
            RunFolderError: The file is missing or damaged.
        """
        return _load_json(self.path / name)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file in UTF-8."""
        self._assert_writable()
        if not self.crew.leads:
            return
        # A lone surrogate from a user's file has no UTF-8 form; `\\udxxx` is what JSON writes for it.
        files.write_atomic(self.path / name, text.encode("utf-8", errors="backslashreplace"))

    def log(self, event: str, **fields: object) -> None:
        """Append an event with its time to log.jsonl."""
        self._assert_writable()
        if not self.crew.leads:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        files.append_line(self.path / _LOG, to_json({"event": event, "time": now, **fields}))
        self.listener(event, fields)

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events of log.jsonl, oldest first; a line torn by a kill is passed over."""
        if not (self.path / _LOG).exists():
            return
        with (self.path / _LOG).open("rb") as lines:
            for line in lines:
                try:
                    event = parse_json(line)
                except ValueError:
                    continue
                if isinstance(event, dict) and "event" in event:
                    yield event

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Log the seconds that the body takes, for stages that are neither `map` nor `once`.

        Raises:
            RunFolderError: The disk is full, whatever library was writing.
        """
        self.log("stage_started", stage=stage)
        start, event = time.perf_counter(), "stage_stopped"
        try:
            with files.explained(self.path, only_full=True):
                yield
            event = "stage_finished"
        finally:
            self.log(event, stage=stage, seconds=_since(start))

    def seconds(self) -> dict[str, float]:
        """Return the seconds spent in each stage over all sessions.

        A killed session counts up to its last whole shard, and not at all in a stage that is `timed`.
        """
        total: defaultdict[str, float] = defaultdict(float)
        for event in self.events():
            if event["event"] in _TIMED_EVENTS:
                total[event["stage"]] += event.get("seconds", 0.0)
        return dict(total)

    def _in_turn(
        self, name: str, spans: Sequence[_Span], make: Callable[[_Span], Iterable[R]], record: type[R]
    ) -> Records[R]:
        """Make one shard after the other, all processes of the crew the same one at a time."""

        def made(missing: Mapping[int, _Span]) -> _Shards[R]:
            for i, span in missing.items():
                self.crew.told(span)
                yield i, make(span)

        return self._stage(name, spans, made, record, follow=make)

    def _stage(
        self,
        name: str,
        spans: Sequence[_Span],
        made: Callable[[Mapping[int, _Span]], _Shards[R]],
        record: type[R],
        *,
        follow: Callable[[_Span], object],
    ) -> Records[R]:
        self._assert_writable()
        if not self.crew.leads:
            while (span := self.crew.told(None)) is not None:
                follow(span)
            return self.records(name, record)
        paths = [shard_path(self.path / name, i) for i in range(len(spans))]
        # Looked at before anything is made, so that a damaged shard shows now and not after hours of work.
        counts = [checked_count(path, span) for path, span in zip(paths, spans, strict=True)]
        total = spans[-1][1] if spans else 0
        done = sum(end - start for (start, end), count in zip(spans, counts, strict=True) if count is not None)
        self.progress(name, done, total)
        if None in counts or not (self.path / name / _COMPLETE).exists():
            self.log("stage_started", stage=name, shards=len(spans), kept=len(spans) - counts.count(None))
            start = time.perf_counter()
            with closing(made({i: span for i, span in enumerate(spans) if counts[i] is None})) as shards:
                for i, rows in shards:
                    counts[i] = count = write_shard(paths[i], rows, record, spans[i])
                    self.log("shard", stage=name, shard=i, records=count, seconds=_since(start))
                    start = time.perf_counter()
                    done += spans[i][1] - spans[i][0]
                    self.progress(name, done, total)
            assert None not in counts, f"{name}: a shard was not made"
            numbers = _numbers(counts)
            self.write_json(f"{name}/{_COMPLETE}", numbers)
            self.log("stage_finished", stage=name, **numbers)
        elif self.read_json(f"{name}/{_COMPLETE}") != _numbers(counts):
            raise damaged(self.path / name / _COMPLETE, ValueError("its numbers are not those of the shards"))
        self.crew.told(None)
        return self.records(name, record)

    def _led(self, make: Callable[[], Iterable[R]]) -> Iterable[R]:
        return make() if self.crew.leads else ()

    def _assert_writable(self) -> None:
        assert self.writable, "this run folder was opened with RunFolder.read"


def _nothing(span: _Span) -> None:
    """Make no part of a shard."""


def _spans(num_inputs: int, shard_size: int) -> list[_Span]:
    """Which inputs each shard is made from."""
    ends = [*range(shard_size, num_inputs, shard_size), num_inputs] if num_inputs else []
    return list(zip([0, *ends], ends, strict=False))


def _refuse_foreign(path: Path) -> None:
    """Refuse a file, and a folder that holds files but no manifest: it belongs to somebody else."""
    if not path.is_dir():
        if path.exists():
            raise RunFolderError(f"{path} is a file, where a run folder is wanted; use another --out")
        return
    with files.explained(path):
        names = os.listdir(path)
    foreign = [name for name in names if name != _LOCK and not files.is_temporary(name)]
    if foreign and _MANIFEST not in names:
        raise RunFolderError(
            f"{path} has files ({sorted(foreign)[0]}, ...) but no {_MANIFEST}, so it is no run folder; "
            "use another --out, or an empty folder"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(path / _LOCK, timeout=0)
    with files.explained(path):
        path.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise RunFolderError(
                f"{path} is in use by another process; wait until that is done, or use another --out"
            ) from error
    try:
        yield
    finally:
        lock.release()


def _load_json(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error


def _read_manifest(path: Path) -> Manifest:
    file = path / _MANIFEST
    try:
        return from_json(Manifest, parse_json(file.read_bytes()))
    except (OSError, ValueError) as error:
        # Unlike every other file it cannot be made again: what the folder holds is known from it alone.
        raise RunFolderError(f"{file} is damaged ({error}); use another --out") from error


def _numbers(counts: Sequence[int | None]) -> dict[str, int]:
    """Return what complete.json holds of a stage with shards of so many records."""
    return {"shards": len(counts), "records": sum(count or 0 for count in counts)}


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 3)

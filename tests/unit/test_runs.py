import dataclasses
import errno
import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inward.errors import ModelError, RunFolderError
from inward.runs import Records, RunFolder, from_json, hash_folder, identity
from inward.types import (
    Artifact,
    Choice,
    Estimate,
    Manifest,
    Outcome,
    PreferencePair,
    Source,
    Span,
)

MANIFEST = Manifest(
    inward="0.1.0",
    method="rlsf",
    settings={"pairs": {"gamma": 0.9, "stop": ["a", "b"]}, "optim": {}},
    recipe="defaults",
    seed=0,
    start=Artifact(name="embedded:chat", sha256="aa"),
    data=Artifact(name="prompts.jsonl", sha256="bb", num_records=3),
    evaluation=None,
    labels_used=False,
    versions={"torch": "2.8", "numpy": "2"},
    hardware={"cpu": "2 cores"},
    created="2025-01-01T00:00:00Z",
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder.open(tmp_path / "run", MANIFEST) as folder:
        yield folder


def choices(texts: Sequence[str]) -> list[Choice]:
    return [Choice(label=text, text=text.upper()) for text in texts]


def refused(path: Path, manifest: Manifest = MANIFEST) -> str:
    """Return what RunFolder.open says when it refuses."""
    with pytest.raises(RunFolderError) as caught, RunFolder.open(path, manifest):
        pytest.fail("opened")
    return str(caught.value)


# Stages


def test_map_writes_one_shard_per_chunk_and_keeps_the_order(folder: RunFolder) -> None:
    seen: list[list[str]] = []

    def make(texts: Sequence[str]) -> list[Choice]:
        seen.append(list(texts))
        return choices([text for text in texts if text != "c"])

    records = folder.map("before/scored", list("abcde"), make, Choice, shard_size=2)
    assert seen == [["a", "b"], ["c", "d"], ["e"]]
    assert list(records) == list(records) == choices("abde")
    assert sorted(path.name for path in (folder.path / "before/scored").iterdir()) == [
        "00000.parquet",
        "00001.parquet",
        "00002.parquet",
        "complete.json",
    ]
    assert folder.read_json("before/scored/complete.json") == {"shards": 3, "records": 4}


def test_records_are_a_sequence_that_reads_shards_as_they_are_needed(folder: RunFolder) -> None:
    made = folder.map("stage", list("abcdefg"), choices, Choice, shard_size=3)
    records = folder.records("stage", Choice)
    assert isinstance(records, Records) and len(records) == len(made) == 7
    assert [records[i] for i in range(7)] == choices("abcdefg")
    assert records[2:5] == choices("cde") and records[::3] == choices("adg") and records[-1] == choices("g")[0]
    with pytest.raises(IndexError):
        records[7]
    (folder.path / "stage/00002.parquet").unlink()
    assert records[:6] == choices("abcdef")
    with pytest.raises(RunFolderError, match=r"00002\.parquet is missing; run the command"):
        list(records)


def test_records_of_one_stage_are_the_inputs_of_the_next(folder: RunFolder) -> None:
    first = folder.map("first", list("abcde"), lambda t: choices([x for x in t if x != "b"]), Choice, shard_size=2)
    second = folder.map("second", first, lambda part: choices([c.text for c in part]), Choice, shard_size=3)
    assert [record.label for record in second] == ["A", "C", "D", "E"]


def test_whole_shards_are_not_made_again(tmp_path: Path) -> None:
    made: list[str] = []

    def make(texts: Sequence[str]) -> list[Choice]:
        if "e" in texts and not made.count("stopped"):
            made.append("stopped")
            raise KeyboardInterrupt
        made.extend(texts)
        return choices(texts)

    reported: list[tuple[str, int, int]] = []

    def run() -> list[Choice]:
        def progress(stage: str, done: int, total: int) -> None:
            reported.append((stage, done, total))

        with RunFolder.open(tmp_path, MANIFEST, progress=progress) as folder:
            return list(folder.map("stage", list("abcdefg"), make, Choice, shard_size=2))

    with pytest.raises(KeyboardInterrupt):
        run()
    assert reported == [("stage", 0, 7), ("stage", 2, 7), ("stage", 4, 7)]
    assert run() == choices("abcdefg")
    assert reported[3:] == [("stage", 4, 7), ("stage", 6, 7), ("stage", 7, 7)]
    assert run() == choices("abcdefg")
    assert reported[6:] == [("stage", 7, 7)]
    assert made == ["a", "b", "c", "d", "stopped", "e", "f", "g"]
    shards = [event["shard"] for event in RunFolder.read(tmp_path).events() if event["event"] == "shard"]
    assert shards == [0, 1, 2, 3]


def test_stage_without_inputs_is_complete(folder: RunFolder) -> None:
    records = folder.map("stage", [], choices, Choice, shard_size=2)
    assert len(records) == 0 and list(records) == [] and records[:] == []


def test_once_works_for_no_records_and_runs_once(folder: RunFolder) -> None:
    calls: list[int] = []

    def make() -> list[Choice]:
        calls.append(1)
        return []

    for _ in range(2):
        assert list(folder.once("pairs", make, Choice)) == []
    assert calls == [1] and folder.read_json("pairs/complete.json") == {"shards": 1, "records": 0}


def test_unfinished_stage_names_the_command(folder: RunFolder) -> None:
    with pytest.raises(RunFolderError, match=r"pairs is not complete: run the command .* \(rlsf, with --out"):
        folder.records("pairs", PreferencePair)


def test_shards_of_another_size_are_refused(folder: RunFolder) -> None:
    folder.map("stage", list("abcd"), choices, Choice, shard_size=2)
    with pytest.raises(RunFolderError, match=r"00000\.parquet was made from inputs 0 to 2, asked for 0 to 3"):
        folder.map("stage", list("abcd"), choices, Choice, shard_size=3)


def damage_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF  # within the first data page: the footer stays whole
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PAR1" * 10),
        lambda path: pq.write_table(pa.table({"label": ["a"]}), path),
        damage_middle,
    ],
)
def test_damaged_shard_is_named_with_its_remedy_which_works(folder: RunFolder, damage: Callable[[Path], None]) -> None:
    folder.map("stage", list("abcd"), choices, Choice, shard_size=2)
    shard = folder.path / "stage/00001.parquet"
    whole = shard.read_bytes()
    damage(shard)
    with pytest.raises(RunFolderError, match=r"00001\.parquet is damaged .*; delete that file and run the same"):
        list(folder.map("stage", list("abcd"), choices, Choice, shard_size=2))
    shard.unlink()
    made: list[str] = []
    folder.map("stage", list("abcd"), lambda t: made.extend(t) or choices(t), Choice, shard_size=2)
    assert made == ["c", "d"] and shard.read_bytes() == whole


def test_shard_of_another_record_is_refused(folder: RunFolder) -> None:
    folder.once("stage", lambda: [Span(start=0, end=1)], Span)
    with pytest.raises(RunFolderError, match="its columns are not those of a Choice"):
        list(folder.records("stage", Choice))


# Other files


def test_json_is_strict_and_takes_records_enums_and_tuples(folder: RunFolder) -> None:
    value = {
        "nan": math.nan,
        "inf": (math.inf, -math.inf),
        Outcome.CORRECT: Span(start=0, end=1),
        "λ": Source.GREEDY,
    }
    folder.write_json("after/report.json", value)
    expected = {"nan": None, "inf": [None, None], "correct": {"start": 0, "end": 1}, "λ": "greedy"}
    assert folder.read_json("after/report.json") == expected
    assert "NaN" not in (folder.path / "after/report.json").read_text()
    with pytest.raises(TypeError):
        folder.write_json("summary.json", {"object": object()})
    assert not (folder.path / "summary.json").exists()


def test_undefined_estimate_comes_back_from_json_as_nan(folder: RunFolder) -> None:
    folder.write_json("e.json", Estimate(value=math.nan, low=math.nan, high=math.nan, n=4))
    assert repr(from_json(Estimate, folder.read_json("e.json"))) == "Estimate(value=nan, low=nan, high=nan, n=4)"


def test_missing_and_damaged_json_are_named(folder: RunFolder) -> None:
    with pytest.raises(RunFolderError, match=r"summary\.json is missing; run the command"):
        folder.read_json("summary.json")
    (folder.path / "summary.json").write_text('{"a": 1')
    with pytest.raises(RunFolderError, match=r"summary\.json is damaged .*; delete that file"):
        folder.read_json("summary.json")


def test_text_is_replaced_in_one_step(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("report.html", "λ\n")
    assert (folder.path / "report.html").read_bytes() == "λ\n".encode()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFolderError, match=r"the disk is full: .*report\.html could not be written; every file"):
        folder.write_text("report.html", "new")
    assert (folder.path / "report.html").read_text() == "λ\n"
    assert list(folder.path.glob(".report*")) == []


def test_build_makes_a_folder_once_and_whole(folder: RunFolder) -> None:
    def make(path: Path) -> None:
        assert path.is_dir() and path != folder.path / "checkpoint"
        (path / "sub").mkdir()
        (path / "sub/weights").write_text("w")

    assert folder.build("checkpoint", make) == folder.path / "checkpoint"
    assert (folder.path / "checkpoint/sub/weights").read_text() == "w"
    folder.build("checkpoint", lambda _: pytest.fail("built twice"))
    assert list(folder.path.glob(".*")) == []


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (ZeroDivisionError("own"), ZeroDivisionError, "own"),
        (PermissionError(errno.EACCES, "own"), PermissionError, "own"),
        (OSError(errno.ENOSPC, "full"), RunFolderError, "the disk is full: .*checkpoint"),
        # as safetensors words it
        (
            RuntimeError("I/O error: No space left on device (os error 28)"),
            RunFolderError,
            "the disk is full",
        ),
    ],
)
def test_build_that_fails_leaves_nothing(
    folder: RunFolder, error: Exception, raised: type[Exception], message: str
) -> None:
    def make(path: Path) -> None:
        (path / "weights").write_text("half")
        raise error

    before = sorted(os.listdir(folder.path))
    with pytest.raises(raised, match=message):
        folder.build("checkpoint", make)
    assert sorted(os.listdir(folder.path)) == before


# The log


def test_seconds_add_up_over_sessions_past_a_torn_line(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, MANIFEST) as folder:
        folder.log("shard", stage="traces", shard=0, seconds=1.5)
        with folder.timed("train"):
            folder.log("metrics", stage="train", seconds=100.0, loss=math.nan)
    with (tmp_path / "log.jsonl").open("ab") as log:
        log.write(b'{"event": "shard", "stage": "traces", "sec')
    with RunFolder.open(tmp_path, MANIFEST) as folder:
        folder.log("shard", stage="traces", shard=1, seconds=2.25)
        seconds = folder.seconds()
    assert seconds["traces"] == 3.75
    assert seconds.keys() == {"traces", "train"} and seconds["train"] < 60
    events = list(RunFolder.read(tmp_path).events())
    assert [event["event"] for event in events] == [
        *("opened", "shard", "stage_started", "metrics", "stage_finished"),
        *("opened", "shard"),
    ]
    assert events[3]["loss"] is None and events[0]["resumed"] is False and events[5]["resumed"] is True


def test_seconds_of_a_map_are_the_sum_of_its_shards(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every look at the clock is 2 s later; a shard takes two looks.
    ticks = iter(range(0, 100, 2))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    folder.map("traces", list("abc"), choices, Choice, shard_size=1)
    folder.once("pairs", list, Choice)
    assert folder.seconds() == {"traces": 6.0, "pairs": 2.0}


def test_timed_stage_that_fails_counts_too(folder: RunFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.timed("train"):
        raise ZeroDivisionError
    assert list(folder.events())[-1]["event"] == "stage_stopped"
    assert folder.seconds().keys() == {"train"}


# Opening


def test_fresh_folder_holds_its_manifest(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "a/b", MANIFEST):
        assert from_json(Manifest, json.loads((tmp_path / "a/b/manifest.json").read_text())) == MANIFEST
    assert RunFolder.read(tmp_path / "a/b").manifest == MANIFEST


def test_run_of_another_method_is_refused_without_a_list_of_its_settings(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, MANIFEST):
        other = dataclasses.replace(MANIFEST, method="rlsc")
    assert refused(tmp_path, other) == (
        f"{tmp_path} belongs to another run: its method is rlsf, asked for rlsc; use another --out"
    )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"seed": 1}, "seed: this folder has 0, asked for 1"),
        (
            {"settings": {"pairs": {"gamma": 0.5, "stop": ["a", "b"]}, "optim": {}}},
            "settings.pairs.gamma: this folder has 0.9, asked for 0.5",
        ),
        (
            {"settings": {"pairs": {"gamma": 0.9, "stop": ("a",)}, "optim": {}}},
            'settings.pairs.stop: this folder has ["a", "b"], asked for ["a"]',
        ),
        (
            {"settings": {"pairs": {"gamma": 0.9, "stop": ["a", "b"]}}},
            "settings.optim: this folder has {}, asked for nothing",
        ),
        ({"start": Artifact(name="x", sha256="cc")}, 'start.sha256: this folder has "aa", asked for "cc"'),
        ({"data": None}, 'data.sha256: this folder has "bb", asked for null'),
        (
            {"evaluation": Artifact(name="x", sha256="cc")},
            'evaluation.sha256: this folder has null, asked for "cc"',
        ),
        ({"labels_used": True}, "labels_used: this folder has false, asked for true"),
    ],
)
def test_run_of_another_identity_is_refused(tmp_path: Path, change: dict[str, Any], line: str) -> None:
    with RunFolder.open(tmp_path, MANIFEST):
        stored = (tmp_path / "manifest.json").read_bytes()
    other = dataclasses.replace(MANIFEST, **change)
    assert identity(other) != identity(MANIFEST)
    assert refused(tmp_path, other).splitlines() == [
        f"{tmp_path} belongs to another run:",
        f"  {line}",
        "use another --out, or the settings this folder was made with",
    ]
    assert (tmp_path / "manifest.json").read_bytes() == stored


def test_every_difference_is_named(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, MANIFEST):
        other = dataclasses.replace(MANIFEST, seed=1, labels_used=True)
    assert len(refused(tmp_path, other).splitlines()) == 4


def test_other_versions_are_logged_and_the_first_manifest_kept(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, MANIFEST):
        later = dataclasses.replace(
            MANIFEST,
            inward="0.2.0",
            versions={"torch": "2.9", "numpy": "3"},
            hardware={},
            created="later",
            recipe="mine",
            start=Artifact(name="./copy", sha256="aa"),
        )
    assert identity(later) == identity(MANIFEST)
    with RunFolder.open(tmp_path, later) as folder:
        assert folder.manifest == MANIFEST
        changes = [(e["name"], e["was"], e["now"]) for e in folder.events() if e["event"] == "version_changed"]
    assert changes == [("inward", "0.1.0", "0.2.0"), ("torch", "2.8", "2.9")]


def test_folder_in_use_is_refused_and_free_afterwards(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, MANIFEST):
        assert refused(tmp_path) == (
            f"{tmp_path} is in use by another process; wait until that is done, or use another --out"
        )
    with RunFolder.open(tmp_path, MANIFEST):
        pass


def test_somebody_elses_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    assert "has files (thesis.tex, ...) but no manifest.json" in refused(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_folder_killed_before_its_manifest_is_taken_up(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / ".manifest.json.tmp-123").write_text("{")
    with RunFolder.open(tmp_path, MANIFEST):
        assert sorted(os.listdir(tmp_path)) == ["lock", "log.jsonl", "manifest.json"]


def test_temporary_files_are_removed_and_others_are_not(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, MANIFEST):
        pass
    stale = [tmp_path / "traces/.00000.parquet.tmp-1", tmp_path / ".checkpoint.tmp-22/.a.tmp-22"]
    kept = [tmp_path / "trainer/.hidden", tmp_path / "trainer/a.tmp-1", tmp_path / ".x.tmp-1a"]
    for path in stale + kept:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with RunFolder.open(tmp_path, MANIFEST):
        assert [path.exists() for path in stale] == [False, False]
        assert not stale[1].parent.exists()
        assert all(path.exists() for path in kept)


def test_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    assert "manifest.json is damaged" in refused(tmp_path)
    (tmp_path / "manifest.json").write_text('{"inward": "0.1.0"}')
    with pytest.raises(RunFolderError, match="not a Manifest: KeyError 'method'"):
        RunFolder.read(tmp_path)


def test_path_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert refused(file) == f"{file} is a file, where a run folder is wanted; use another --out"
    assert file.read_text() == "mine"
    assert "Not a directory" in refused(tmp_path / "file/run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_refused(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run", MANIFEST):
        pass
    (tmp_path / "run/lock").unlink()
    (tmp_path / "run").chmod(0o555)
    assert "Permission denied" in refused(tmp_path / "run")
    assert RunFolder.read(tmp_path / "run").manifest == MANIFEST


def test_reading_takes_no_lock_and_writes_nothing(folder: RunFolder) -> None:
    view = RunFolder.read(folder.path)
    assert view.manifest == MANIFEST
    with pytest.raises(AssertionError, match=r"opened with RunFolder\.read"):
        view.write_text("report.html", "")
    with pytest.raises(RunFolderError, match=r"is no run folder: it has no manifest\.json"):
        RunFolder.read(folder.path / "traces")


# Models


def test_hash_folder_counts_names_and_contents_of_model_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "model.safetensors").write_bytes(b"\0\1")
    # Each line: name, NUL, sha256 of the content.
    lines = b"".join(
        name + b"\0" + hashlib.sha256(data).hexdigest().encode() + b"\n"
        for name, data in ((b"config.json", b"{}"), (b"model.safetensors", b"\0\1"))
    )
    before = hash_folder(tmp_path)
    assert before == hashlib.sha256(lines).hexdigest()
    for name in ("README.md", "training_args.bin", "trainer_state.json", "optimizer.pt"):
        (tmp_path / name).write_text("x")
    assert hash_folder(tmp_path) == before
    hashes = {before}
    for name in ("tokenizer.json", "generation_config.json", "chat_template.jinja", "pytorch_model.bin"):
        (tmp_path / name).write_text("x")
        hashes.add(hash_folder(tmp_path))
    assert len(hashes) == 5


@pytest.mark.parametrize("name", ["empty", "absent"])
def test_hash_folder_refuses_what_is_no_model(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no model"):
        hash_folder(tmp_path / name)


def test_importing_runs_is_light() -> None:
    heavy = ("torch", "pyarrow", "numpy", "filelock")
    code = f"import sys, inward.runs; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "no room"), RuntimeError("I/O error: No space left on device")]
)
def test_a_full_disk_in_a_timed_stage_is_explained_whatever_library_wrote(tmp_path, error):
    with RunFolder.open(tmp_path / "run", MANIFEST) as folder:
        with pytest.raises(RunFolderError, match="the disk is full"), folder.timed("train"):
            raise error
        with pytest.raises(PermissionError), folder.timed("train"):
            raise PermissionError("something else")

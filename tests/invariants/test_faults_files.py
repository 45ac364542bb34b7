"""Files that are not as they should be: other encodings, byte-order marks, bytes that no longer stand as written."""

import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
import yaml
from commands import Ended, call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from inward.config import run_config
from inward.errors import DataError, ModelError, RunFolderError, SettingsError
from inward.models import ModelSettings, load
from inward.runs import RunFolder
from inward.tasks.files import read_problems, read_prompts
from inward.train.trainer import newest_checkpoint
from inward.types import Artifact, Choice, Manifest

MANIFEST = Manifest(
    inward="0.1.0",
    method="toy",
    settings={"a": {"b": 1}},
    recipe="defaults",
    seed=0,
    start=Artifact(name="m", sha256="1"),
    data=None,
    evaluation=None,
    labels_used=False,
    versions={"torch": "2"},
    hardware={},
    created="2025-01-01T00:00:00Z",
)
FEW = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
"""Bounded, and the same examples at every run."""
BOM = b"\xef\xbb\xbf"
ROWS = {
    "prompts": {"id": "a", "prompt": "Q:1+2?\nA:"},
    "completions": {"id": "a", "completion": "3", "answer": "3", "question": "Q:1+2?\nA:"},
    "grade": {"prediction": "The answer is 3.", "gold": "3"},
}


def line(kind: str, **more: Any) -> bytes:
    return json.dumps(ROWS[kind] | more).encode() + b"\n"


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], Ended]:
    """Give the bytes of a file to the command that reads such files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gold.jsonl").write_bytes(line("completions"))

    def used(kind: str, content: bytes) -> Ended:
        (tmp_path / "file.jsonl").write_bytes(content)
        if kind == "grade":
            return call("grade", "file.jsonl", "--out", "out.jsonl", "--jobs", "1")
        return call("evaluate", "--completions", "file.jsonl", "--data", "gold.jsonl", "--out", "out")

    return used


@pytest.mark.parametrize("kind", ["completions", "grade"])
def test_a_file_in_another_encoding_is_refused_by_its_line(use: Callable[[str, bytes], Ended], kind: str):
    ended = use(kind, line(kind) + line(kind, id="b").replace(b"3", "caf\xe9".encode("latin-1"), 1))
    assert ended.code == 1
    assert "file.jsonl, line 2: no UTF-8 text" in ended.error


@pytest.mark.parametrize("kind", ["completions", "grade"])
def test_a_byte_order_mark_is_no_part_of_the_first_line(use: Callable[[str, bytes], Ended], kind: str):
    ended = use(kind, BOM + line(kind))
    assert ended.code == 0, ended.err


def test_prompts_and_settings_take_a_byte_order_mark(tmp_path: Path):
    (tmp_path / "file.jsonl").write_bytes(BOM + line("prompts"))
    assert [prompt.id for prompt in read_prompts(str(tmp_path / "file.jsonl"))] == ["a"]
    (tmp_path / "s.yaml").write_bytes(BOM + b"pairs: {gamma: 0.5}\n")
    assert run_config("rlsf", "some/model", tmp_path / "s.yaml", ()).settings.pairs.gamma == 0.5


def test_weights_that_lost_their_end_are_refused_by_their_folder(tiny_model: Path, tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match=rf"the weights in {folder} are damaged .+; copy or download them again"):
        load(folder, ModelSettings(device="cpu"))


@pytest.mark.parametrize("torn", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
def test_a_training_resumes_from_the_newest_checkpoint_that_is_whole(tiny_model: Path, tmp_path: Path, torn: str):
    for step in (2, 10):
        folder = tmp_path / f"checkpoint-{step}"
        shutil.copytree(tiny_model, folder)
        torch.save({"step": step}, folder / "optimizer.pt")
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    assert newest_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    halve(tmp_path / "checkpoint-10" / torn)
    assert newest_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    assert [folder.name for folder in tmp_path.iterdir()] == ["checkpoint-2"]


def halve(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("checkpoint", "delete {0}/checkpoint and run"),
        ("checkpoints/00010", "delete {0}/checkpoints/00010 and {0}/checkpoint and run"),
        ("trainer/checkpoint-2", None),
    ],
)
def test_weights_in_a_run_folder_that_lost_their_end_are_named(
    tiny_model: Path, tmp_path: Path, name: str, remedy: str | None
):
    out = tmp_path / "run"
    fill(out)
    shutil.copytree(tiny_model, out / name)
    fill(out)
    halve(out / name / "model.safetensors")
    if remedy is None:
        fill(out)
        return
    with pytest.raises(RunFolderError, match=re.escape(remedy.format(out))):
        fill(out)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished stage of two shards."""
    out = tmp_path_factory.mktemp("stage") / "run"
    fill(out)
    return out


@pytest.fixture(scope="module")
def whole(stage: Path) -> list[Choice]:
    """What it holds."""
    return fill(stage)


def fill(out: Path) -> list[Choice]:
    with RunFolder.open(out, MANIFEST) as folder:
        texts = [f"text {i} " * 20 for i in range(6)]
        made = folder.map("toy", texts, lambda chunk: [Choice(label=t[5], text=t) for t in chunk], Choice, shard_size=3)
        return list(made)


def damage(data: bytes, place: float, flips: bytes, cut: bool) -> bytes:
    at = int(place * (len(data) - 1))
    if cut:
        return data[:at]
    mixed = bytes(a ^ b for a, b in zip(data[at:], flips, strict=False))
    return data[:at] + mixed + data[at + len(mixed) :]


DAMAGE = (st.floats(0, 1), st.binary(min_size=1, max_size=8), st.booleans())


def fill_or_name(stage: Path, file: Path) -> list[Choice] | None:
    """What the stage holds; None where it is refused, in words that name the file and what to do."""
    try:
        return fill(stage)
    except RunFolderError as error:
        message = str(error)
        # A manifest that is whole and another's is told of by its folder.
        assert str(file) in message or (file.name == "manifest.json" and "belongs to another run" in message)
        assert "; delete that file and run the same command again" in message or "use another --out" in message
        return None


@FEW
@given(*DAMAGE)
def test_a_damaged_shard_is_read_as_it_was_or_named(
    stage: Path, whole: list[Choice], place: float, flips: bytes, cut: bool
):
    """Not every byte carries records: statistics in the footer may change without harm."""
    shard = stage / "toy/00001.parquet"
    before = shard.read_bytes()
    try:
        shard.write_bytes(damage(before, place, flips, cut))
        assert fill_or_name(stage, shard) in (whole, None)
    finally:
        shard.write_bytes(before)


@FEW
@given(*DAMAGE)
def test_a_damaged_manifest_or_list_of_shards_is_named(
    stage: Path, whole: list[Choice], place: float, flips: bytes, cut: bool
):
    for name in ("manifest.json", "toy/complete.json"):
        file = stage / name
        before = file.read_bytes()
        try:
            file.write_bytes(damage(before, place, flips, cut))
            assert fill_or_name(stage, file) in (whole, None)
        finally:
            file.write_bytes(before)


@pytest.mark.parametrize("name", ["toy/00001.parquet", "manifest.json", "toy/complete.json"])
def test_a_file_that_lost_its_end_is_named_and_read_once_it_is_put_back(stage: Path, whole: list[Choice], name: str):
    file = stage / name
    before = file.read_bytes()
    try:
        file.write_bytes(before[:-3])
        assert fill_or_name(stage, file) is None
    finally:
        file.write_bytes(before)
    assert fill(stage) == whole and len(whole) == 6


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@FEW
@given(field=st.sampled_from(sorted(MANIFEST.__dataclass_fields__)), value=VALUES)
def test_a_manifest_edited_by_hand_is_refused_or_changes_nothing(
    stage: Path, whole: list[Choice], field: str, value: Any
):
    file = stage / "manifest.json"
    before = file.read_text(encoding="utf-8")
    try:
        file.write_text(json.dumps(json.loads(before) | {field: value}), encoding="utf-8")
        assert fill_or_name(stage, file) in (whole, None)
    finally:
        file.write_text(before, encoding="utf-8")


@FEW
@given(numbers=VALUES)
def test_a_list_of_shards_edited_by_hand_is_refused_or_true(stage: Path, numbers: Any):
    file = stage / "toy/complete.json"
    before = file.read_text(encoding="utf-8")
    try:
        file.write_text(json.dumps(numbers), encoding="utf-8")
        with pytest.raises(RunFolderError, match=r"complete\.json is damaged .+; delete that file"):
            fill(stage)
        with pytest.raises(RunFolderError, match=r"complete\.json is damaged"):
            RunFolder.read(stage).records("toy", Choice)
    finally:
        file.write_text(before, encoding="utf-8")


KEYS = st.sampled_from(["pairs.gamma", "sampling", "optim.trl.x", "answer.kind", "evaluation", "method", "a.b", "."])
YAML = st.sampled_from(["0x_", "!!bool x", "!!int ''", "[" * 1000, "&a [*a]", "1:" * 30 + "1"])


@FEW
@given(KEYS | st.text(max_size=12), st.sampled_from(["=", "", "=="]), st.text(max_size=24) | YAML)
def test_any_override_is_taken_or_refused_as_a_setting(key: str, sign: str, value: str):
    with suppress(SettingsError):
        run_config("rlsf", "some/model", None, [f"{key}{sign}{value}"])


@FEW
@given(
    st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()) | YAML.map(lambda text: text.encode())
)
def test_any_file_of_settings_is_taken_or_refused_as_one(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(content)
    with suppress(SettingsError):
        run_config("rlsf", "some/model", file, ())


@FEW
@given(st.floats(-1, 1), st.integers(1, 2**62), st.text(max_size=20))
def test_settings_are_taken_as_they_are_written(
    tmp_path_factory: pytest.TempPathFactory, gamma: float, limit: int, revision: str
):
    file = tmp_path_factory.getbasetemp() / "whole.yaml"
    written = {"pairs": {"gamma": gamma}, "prompts": {"limit": limit}, "model": {"revision": revision}}
    file.write_text(yaml.safe_dump(written), encoding="utf-8")
    overrides = [f"pairs.gamma={gamma!r}", f"prompts.limit={limit}", f"model.revision={json.dumps(revision)}"]
    by_override = overrides if revision.isascii() else overrides[:2]  # JSON writes the others as pairs of surrogates
    for path, given_ in ((file, ()), (None, by_override)):
        taken = run_config("rlsf", "some/model", path, given_)
        assert (taken.settings.pairs.gamma, taken.prompts.limit) == (gamma, limit)
        assert len(given_) == 2 or taken.settings.model.revision == revision


def read_or_name(read: Callable[[str], list[Any]], file: Path) -> list[Any] | None:
    """What a file holds; None where it is refused in words that name it."""
    try:
        return read(str(file))
    except DataError as error:
        assert str(error).startswith(str(file))
        return None


@FEW
@given(
    st.binary(max_size=60) | st.lists(VALUES, max_size=3).map(lambda rows: "\n".join(map(json.dumps, rows)).encode())
)
def test_any_file_of_rows_is_read_or_refused_as_data(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    file = tmp_path_factory.getbasetemp() / "any.jsonl"
    file.write_bytes(content)
    read_or_name(read_prompts, file)


@FEW
@given(st.lists(st.text(min_size=1, max_size=20).filter(str.strip), min_size=1, max_size=3))
def test_rows_are_read_as_they_are_written(tmp_path_factory: pytest.TempPathFactory, texts: list[str]):
    rows = [{"prompt": text, "answer": text} for text in texts]
    lines, table = (tmp_path_factory.getbasetemp() / f"whole.{suffix}" for suffix in ("jsonl", "parquet"))
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    for file in (lines, table):
        assert [(one.prompt.text, one.answer) for one in read_problems(str(file))] == list(
            zip(texts, texts, strict=True)
        )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parquet file of 40 problems in four blocks."""
    file = tmp_path_factory.mktemp("table") / "problems.parquet"
    rows = [{"id": f"p{i}", "prompt": f"Q:{i}+2?\nA:", "answer": str(i + 2)} for i in range(40)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), file, row_group_size=10)
    return file


@settings(FEW, max_examples=120)
@given(*DAMAGE)
def test_a_damaged_parquet_file_of_rows_is_read_or_named(table: Path, place: float, flips: bytes, cut: bool):
    before, whole = table.read_bytes(), read_problems(str(table))
    try:
        table.write_bytes(damage(before, place, flips, cut))
        read_or_name(read_problems, table)
    finally:
        table.write_bytes(before)
    assert read_or_name(read_problems, table) == whole and len(whole) == 40


def test_a_text_in_a_parquet_file_that_is_not_utf_8_is_named_by_its_row(tmp_path: Path):
    texts, ends = b"Q:1+2?caf\xe9", struct.pack("<3i", 0, 6, 10)
    column = pyarrow.Array.from_buffers(pyarrow.string(), 2, [None, pyarrow.py_buffer(ends), pyarrow.py_buffer(texts)])
    file = tmp_path / "latin.parquet"
    parquet.write_table(pyarrow.table({"prompt": column}), file)
    with pytest.raises(DataError, match=rf"{file} is damaged after row 0: 'utf-8' codec can't decode.+; make or copy"):
        read_prompts(str(file))
    parquet.write_table(pyarrow.table({"prompt": ["Q:1+2?"]}), file)
    file.write_bytes(file.read_bytes().replace(b"prompt", b"prom\xff\xff"))
    with pytest.raises(DataError, match=rf"{file} is no parquet file: 'utf-8' codec can't decode"):
        read_prompts(str(file))

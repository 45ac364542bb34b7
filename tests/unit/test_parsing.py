"""JSON of strangers: every reader of it says what is wrong, whichever exception Python has for that."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import call

from inward import interpolate, recalibrate
from inward.errors import DataError, InwardError, ModelError, RunFolderError
from inward.parsing import parse_json
from inward.runs import RunFolder, to_json
from inward.runs.weights import check_weights
from inward.sample.completions import Reply
from inward.sample.replies import Replies
from inward.tasks.files import read_prompts
from inward.train.trainer import newest_checkpoint
from inward.types import Artifact, Manifest

MANIFEST = Manifest(
    inward="0.1.0",
    method="toy",
    settings={},
    recipe="defaults",
    seed=0,
    start=Artifact(name="m", sha256="1"),
    data=None,
    evaluation=None,
    labels_used=False,
    versions={},
    hardware={},
    created="2025-01-01T00:00:00Z",
)
DEEP = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
LONG = b'{"a": ' + b"9" * 5000 + b"}"
UNREADABLE = pytest.mark.parametrize("content", [DEEP, LONG, b"{", b"\xff"], ids=["deep", "long", "torn", "latin"])


@UNREADABLE
def test_what_is_no_json_for_python_is_a_value_error(content: bytes):
    with pytest.raises(ValueError, match=r"."):
        parse_json(content)
    assert parse_json('{"a": [1, "\\u00e9"]}') == {"a": [1, "é"]}


def read_file(file: Path) -> object:
    return read_prompts(str(file))


def read_manifest(file: Path) -> object:
    return RunFolder.read(file.rename(file.with_name("manifest.json")).parent)


def read_fit(file: Path) -> object:
    return recalibrate.read(file.rename(file.with_name(recalibrate.FILE)).parent)


def read_weights(file: Path) -> object:
    header = file.read_bytes()
    file.with_name("model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return check_weights(file.parent)


@UNREADABLE
@pytest.mark.parametrize(
    ("read", "kind", "name"),
    [
        (read_file, DataError, "file.jsonl, line 1: no "),
        (read_manifest, RunFolderError, "manifest.json is damaged"),
        (read_fit, ModelError, f"{recalibrate.FILE} cannot be used"),
        (interpolate._json, ModelError, "file.jsonl cannot be read"),
        (read_weights, RunFolderError, "model.safetensors is damaged (its header cannot be read"),
    ],
)
def test_every_reader_names_the_file(
    tmp_path: Path, content: bytes, read: Callable[[Path], object], kind: type[InwardError], name: str
):
    file = tmp_path / "file.jsonl"
    file.write_bytes(content)
    with pytest.raises(kind) as raised:
        read(file)
    assert name in str(raised.value) and str(tmp_path) in str(raised.value)


@UNREADABLE
def test_grading_names_the_line(tmp_path: Path, content: bytes):
    (tmp_path / "in.jsonl").write_bytes(content + b"\n")
    ended = call("grade", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl", "--jobs", "1")
    assert ended.code == 1
    assert "in.jsonl, line 1: no " in ended.error


def test_what_stands_where_verdicts_should_is_refused(tmp_path: Path):
    (tmp_path / "in.jsonl").write_text(json.dumps({"prediction": "3", "gold": "3"}) + "\n")
    (tmp_path / "out.jsonl").write_bytes(DEEP + b"\n" + DEEP + b"\n")
    ended = call("grade", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl", "--jobs", "1")
    assert ended.code == 1
    assert "out.jsonl, line 1: no verdict of `inward grade`; give another file as --out" in ended.error


FIT = recalibrate.Recalibration(
    method="votes",
    temperature=None,
    objective=None,
    num_votes=8,
    votes_temperature=1.0,
    reference=None,
    reference_sha256=None,
    num_prompts=4,
    num_without_span=0,
    confidence_before=0.5,
    confidence_after=0.75,
    vote_share=0.5,
)


def test_a_number_too_large_for_a_field_is_no_record(tmp_path: Path):
    fit = json.loads(to_json(FIT)) | {"confidence_before": 10**400}
    (tmp_path / recalibrate.FILE).write_text(to_json(FIT))
    assert recalibrate.read(tmp_path) == FIT
    (tmp_path / recalibrate.FILE).write_text(json.dumps(fit))
    with pytest.raises(ModelError, match=r"cannot be used \(not a Recalibration: OverflowError"):
        recalibrate.read(tmp_path)


@UNREADABLE
def test_a_trainer_checkpoint_of_which_the_state_cannot_be_read_is_passed_over(tmp_path: Path, content: bytes):
    for step, state in (("2", b"{}"), ("10", content)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_bytes(state)
    assert newest_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")


KEPT = Reply(ids=(3, 2), logprob=(-0.5, -0.25), tops=({3: -0.5}, {2: -0.25, -1: -3.0}), stopped=True)


@pytest.mark.parametrize(
    "spoilt",
    [
        DEEP,
        b"[]",
        b'"text"',
        b"{}",
        b'{"key": ["a"], "ids": [3], "logprob": [-1], "tops": [], "stopped": true}',
        b'{"key": "a", "ids": "33", "logprob": [-1], "tops": [], "stopped": true}',
        b'{"key": "a", "ids": [3], "logprob": [null], "tops": [], "stopped": true}',
        b'{"key": "a", "ids": [3], "logprob": [-1], "tops": [[[3]]], "stopped": true}',
        b'{"key": "a", "ids": [3], "logprob": [1' + b"0" * 400 + b'], "tops": [], "stopped": true}',
    ],
    ids=range(9),
)
def test_a_kept_reply_of_another_shape_is_asked_for_anew(tmp_path: Path, spoilt: bytes):
    file = tmp_path / "replies.jsonl"
    Replies(file).put("a", KEPT)
    whole: Any = file.read_bytes()
    file.write_bytes(spoilt + b"\n" + whole.replace(b'"a"', b'"b"'))
    again = Replies(file)
    assert (again.get("a"), again.get("b")) == (None, KEPT)


@pytest.mark.parametrize("event", [DEEP, b"[]", b'"text"', b"{}"])
def test_what_is_no_event_in_a_log_is_passed_over(tmp_path: Path, event: bytes):
    with RunFolder.open(tmp_path / "run", MANIFEST) as folder:
        (tmp_path / "run/log.jsonl").write_bytes(event + b'\n{"event": "opened"}\n')
        assert list(folder.events()) == [{"event": "opened"}]

"""Prompts and problems from a user's file: what is read, what is left behind, and how a bad row is named."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from inward.errors import DataError
from inward.tasks.files import read_problems, read_prompts
from inward.types import Choice, Message, Problem, Prompt


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return str(path)


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_text_prompt_and_a_question_are_read_with_their_ids(tmp_path: Path):
    source = write(
        tmp_path / "sums.jsonl",
        lines({"id": "a", "prompt": "2+2"}, {"id": 0, "question": "3+3"}, {"prompt": "4+4", "question": "no"}),
    )
    assert read_prompts(source) == [
        Prompt(id="a", text="2+2"),
        Prompt(id="0", text="3+3"),
        # Without an id the row has the name of the file and its number.
        Prompt(id="sums-3", text="4+4"),
    ]


def test_a_conversation_is_read_as_messages(tmp_path: Path):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?", "name": "ann"}]
    source = write(tmp_path / "chat.jsonl", lines({"prompt": turns}))
    assert read_prompts(source) == [
        Prompt(
            id="chat-1",
            messages=(Message(role="system", content="Be brief."), Message(role="user", content="2+2?")),
        )
    ]


def test_choices_are_listed_below_the_question(tmp_path: Path):
    choices = [{"label": "A", "text": "bank"}, {"label": "B", "text": "library"}]
    row = {"question": "Where is money kept?", "choices": choices, "answer": "A"}
    source = write(tmp_path / "mc.jsonl", lines(row))

    text = "Where is money kept?\nSelect one of the following:\nA. bank\nB. library"
    assert read_prompts(source) == [Prompt(id="mc-1", text=text, labels=("A", "B"))]
    assert read_problems(source) == [
        Problem(
            prompt=Prompt(id="mc-1", text=text, labels=("A", "B")),
            answer="A",
            choices=(Choice(label="A", text="bank"), Choice(label="B", text="library")),
        )
    ]


def test_a_gold_answer_that_is_no_label_of_its_choices_is_refused(tmp_path: Path):
    choices = [{"label": "A", "text": "bank"}, {"label": "B", "text": "library"}]
    source = write(tmp_path / "mc.jsonl", lines({"question": "Where?", "choices": choices, "answer": "bank"}))
    with pytest.raises(DataError, match="line 1: the gold answer 'bank' is none of the labels A, B; give one"):
        read_problems(source)
    assert read_prompts(source)[0].labels == ("A", "B")


def test_a_parquet_file_gives_what_the_same_json_lines_give(tmp_path: Path):
    rows = [
        {"id": "a", "prompt": [{"role": "user", "content": "2+2"}], "answer": "4"},
        {"id": "b", "prompt": [{"role": "user", "content": "3+3"}], "answer": "6"},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "p.parquet")
    text = write(tmp_path / "p.jsonl", lines(*rows))

    assert read_problems(str(tmp_path / "p.parquet")) == read_problems(text)
    assert [prompt.id for prompt in read_prompts(str(tmp_path / "p.parquet"))] == ["a", "b"]


def test_byte_order_mark_blank_lines_and_windows_line_ends_are_no_hindrance(tmp_path: Path):
    content = '\ufeff{"prompt": "žena"}\r\n\r\n  \n{"prompt": "muž"}'
    assert [p.text for p in read_prompts(write(tmp_path / "w.jsonl", content))] == ["žena", "muž"]
    assert [p.text for p in read_prompts(write(tmp_path / "b.jsonl", "\ufeff\n" + content[1:]))] == ["žena", "muž"]


def test_blank_lines_count_in_the_line_that_is_named_but_not_in_the_default_id(tmp_path: Path):
    source = write(tmp_path / "p.jsonl", '\n{"prompt": "1"}\n\n{"prompt": "2"}\n{"prompt": ""}\n')
    with pytest.raises(DataError, match=r"p\.jsonl, line 5: the prompt is empty"):
        read_prompts(source)
    assert [prompt.id for prompt in read_prompts(source, limit=2)] == ["p-1", "p-2"]


def test_a_limit_reads_no_further_than_it_needs(tmp_path: Path):
    source = write(tmp_path / "p.jsonl", lines({"prompt": "1"}, {"prompt": "2"}) + "no JSON\n")
    assert [prompt.text for prompt in read_prompts(source, limit=2)] == ["1", "2"]
    assert len(read_prompts(source, limit=1)) == 1


def test_no_trace_of_a_gold_answer_reaches_a_prompt(tmp_path: Path):
    gold = "GOLD-7f3a"
    row = {"id": "q", "prompt": "2+2", "answer": gold, "solution": gold, "label": gold, "extra": {"deep": [gold]}}
    source = write(tmp_path / "p.jsonl", lines(row))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "p.parquet")

    for prompts in (read_prompts(source), read_prompts(str(tmp_path / "p.parquet"))):
        assert prompts == [Prompt(id="q", text="2+2")]
        assert gold not in json.dumps([dataclasses.asdict(prompt) for prompt in prompts])


def test_a_prompt_has_no_field_that_could_hold_an_answer():
    assert [field.name for field in dataclasses.fields(Prompt)] == ["id", "text", "messages", "labels"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines({"prompt": "1"}) + "{prompt: 2}\n", "line 2: no JSON (Expecting property name"),
        ("[\n", "line 1: no JSON (Expecting value); the file must hold one object a line"),
        (lines(["1"]), "line 1: a list, where an object with `prompt` is needed"),
        (lines({"prompt": "1"}, "2"), "line 2: a str, where an object with `prompt` is needed"),
        (lines({"prompt": "1"}, {"prompt": " \n"}), "line 2: the prompt is empty"),
        (lines({"text": "1", "answer": 2}), "line 1: no column `prompt` or `question`; columns are text, answer"),
        (lines({}), "line 1: no column `prompt` or `question`; columns are none"),
        (lines({"prompt": None}), "line 1: no column `prompt` or `question`; columns are prompt"),
        (lines({"prompt": 7}), "line 1: the prompt must be text, or a list of messages with role and content"),
        (lines({"prompt": []}), "line 1: the prompt must be text, or a list of messages"),
        (lines({"prompt": ["hello"]}), "line 1: each message needs `role` and `content`, both text"),
        (lines({"prompt": [{"role": "user", "content": 5}]}), "line 1: each message needs `role` and `content`"),
        (lines({"prompt": [{"role": "usr", "content": "1"}]}), "line 1: role 'usr' is unknown; known are system, "),
        (lines({"prompt": [{"role": "user", "content": ""}]}), "line 1: a message is empty"),
        (lines({"prompt": "1", "choices": ["A", "B"]}), "line 1: `choices` must be a list of objects with `label`"),
        (lines({"prompt": "1", "choices": 3}), "line 1: `choices` must be a list of objects with `label` and `text`"),
        (
            lines({"prompt": "1", "choices": [{"label": "A", "text": "x"}, {"label": " A", "text": "y"}]}),
            "line 1: the labels of `choices` must be distinct and not empty; they are ['A', 'A']",
        ),
        (lines({"id": "x", "prompt": "1"}, {"id": "x", "prompt": "2"}), "line 2: id 'x' stands already at "),
        (lines({"id": "p-2", "prompt": "1"}, {"prompt": "2"}), "line 2: id 'p-2' stands already at "),
        (b'{"prompt": "1"}\n{"prompt": "caf\xe9"}\n', "line 2: no UTF-8 text (byte 15 of the line); convert"),
        ('{"prompt": "1"}\n'.encode("utf-16"), "line 1: no UTF-8 text (byte 0 of the line)"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, content: str | bytes, message: str):
    source = write(tmp_path / "p.jsonl", content)
    with pytest.raises(DataError) as raised:
        read_prompts(source)
    assert str(raised.value).startswith(f"{source}, {message}")


def test_two_rows_of_one_id_are_both_named(tmp_path: Path):
    source = write(tmp_path / "p.jsonl", lines({"id": 7, "prompt": "1"}, {"prompt": "2"}, {"id": "7", "prompt": "3"}))
    message = f"{source}, line 3: id '7' stands already at {source}, line 1; ids must be distinct"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_prompts(source)


def test_a_bad_row_of_a_parquet_file_is_named_by_its_number(tmp_path: Path):
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["1", ""]}), tmp_path / "p.parquet")
    with pytest.raises(DataError, match=r"p\.parquet, row 2: the prompt is empty"):
        read_prompts(str(tmp_path / "p.parquet"))


@pytest.mark.parametrize("read", [read_prompts, read_problems])
def test_a_source_that_is_no_file_with_rows_is_refused(tmp_path: Path, read: Callable[[str], object]):
    for content in ("", "\n \n", "\ufeff"):
        source = write(tmp_path / "empty.jsonl", content)
        with pytest.raises(DataError, match=f"^{re.escape(source)} holds no rows$"):
            read(source)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="is a folder with no such file; give one JSON-lines or parquet file"):
        read(str(tmp_path / "none"))
    for missing in (f"{tmp_path}/none.jsonl", "./none", "none.parquet", "none"):
        with pytest.raises(DataError, match=f"^no file {re.escape(missing)}; give a JSON-lines or parquet file"):
            read(missing)
    with pytest.raises(DataError, match=r"torn\.parquet is no parquet file"):
        read(write(tmp_path / "torn.parquet", b"PAR1 and then nothing"))


def test_a_file_under_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "p.jsonl", lines({"prompt": "1"}))
    assert read_prompts("~/p.jsonl") == [Prompt(id="p-1", text="1")]


@pytest.mark.parametrize(("gold", "text"), [("42", "42"), (42, "42"), (0, "0"), (0.5, "0.5"), (" x ", " x ")])
def test_a_gold_answer_is_text_or_a_number(tmp_path: Path, gold: object, text: str):
    source = write(tmp_path / "p.jsonl", lines({"prompt": "1", "answer": gold}))
    assert [problem.answer for problem in read_problems(source)] == [text]


@pytest.mark.parametrize("row", [{}, {"answer": None}, {"answer": " "}, {"answer": ["4"]}, {"solution": "4"}])
def test_a_problem_without_a_gold_answer_is_named_by_its_line(tmp_path: Path, row: dict[str, object]):
    source = write(tmp_path / "p.jsonl", lines({"prompt": "1", "answer": "1"}, {"prompt": "2", **row}))
    message = f"{source}, line 2: no gold answer; judging, and the reward gold, need a column `answer`"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_problems(source)
    assert len(read_prompts(source)) == 2


def test_a_question_in_two_phrasings_is_two_prompts_where_both_are_asked_for(tmp_path: Path):
    source = write(
        tmp_path / "p.jsonl",
        lines({"id": "a", "prompt": "2+3?", "rephrased": "3+2?", "answer": "5"}, {"prompt": "1*4?", "rephrased": "4?"}),
    )
    assert [prompt.text for prompt in read_prompts(source)] == ["2+3?", "1*4?"]
    assert read_prompts(source, rephrased=True) == [
        Prompt(id="a", text="2+3?"),
        Prompt(id="a~2", text="3+2?"),
        Prompt(id="p-2", text="1*4?"),
        Prompt(id="p-2~2", text="4?"),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "2+3?"}, "line 1: no column `rephrased`; the reward co_rewarding needs"),
        ({"id": "a~2", "prompt": "2+3?", "rephrased": "3+2?"}, "the id 'a~2' ends in ~2"),
        ({"prompt": "2+3?", "rephrased": " "}, "line 1: the prompt is empty"),
    ],
)
def test_a_row_without_a_second_phrasing_is_named(row: dict[str, str], message: str, tmp_path: Path):
    with pytest.raises(DataError, match=message):
        read_prompts(write(tmp_path / "p.jsonl", lines(row)), rephrased=True)

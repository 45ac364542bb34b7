"""Records as columns: the same files as row by row, and blocks of a file that are read one at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic

from inward.errors import DataError, RunFolderError
from inward.runs import Records, RunFolder, records
from inward.runs.records import from_parquet, plain, schema, to_parquet
from inward.types import Choice, EvalItem, Message, PreferencePair, Prompt, ScoredGroup

RUN = synthetic.run(problems=4, prompts=3, group_size=8)
PROMPTS = [
    Prompt(id="a", text="2+2?", labels=("A", "B")),
    Prompt(id="b", messages=(Message(role="user", content="2+2?"), Message(role="assistant", content=""))),
    Prompt(id="c", messages=()),
]


def row(value: object) -> object:
    """A record as a row of pyarrow's own converter, which wants maps as lists of pairs in the order of the keys."""
    if isinstance(value, dict):
        return {
            key: sorted(item.items()) if key in ("measures", "confidences") else row(item)
            for key, item in value.items()
        }
    return [row(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("rows", "record"),
    [
        (RUN.training, ScoredGroup),
        (RUN.pairs, PreferencePair),
        (RUN.before.items if RUN.before else [], EvalItem),
        (PROMPTS, Prompt),
        (PROMPTS[:1], Prompt),
        ([], Prompt),
    ],
)
def test_the_file_is_that_of_a_conversion_row_by_row(tmp_path: Path, rows: Sequence[object], record: type):
    made, expected = tmp_path / "made", tmp_path / "expected"
    table = pa.Table.from_pylist(
        [row(plain(one)) for one in rows], schema=schema(record).with_metadata({b"inward": b"note"})
    )
    pq.write_table(table, expected, compression="zstd", compression_level=3, version="2.6", write_page_checksum=True)

    with made.open("wb") as file:
        assert to_parquet(iter(rows), record, file, note=b"note") == len(rows)
    assert made.read_bytes() == expected.read_bytes()
    assert list(from_parquet(str(made), record)) == list(rows)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "BLOCK", 2)


def choices(count: int) -> list[Choice]:
    return [Choice(label=str(i), text=f"option {i}") for i in range(count)]


def kept(folder: Path, count: int) -> Records[Choice]:
    with RunFolder.open(folder, synthetic.manifest()) as run:
        return run.once("stage", lambda: iter(choices(count)), Choice)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
def test_records_of_several_blocks_are_a_sequence(tmp_path: Path, count: int):
    found = kept(tmp_path / "run", count)

    assert len(found) == count
    assert list(found) == [found[i] for i in range(count)] == found[:] == choices(count)
    assert found[5:1:-2] == choices(count)[5:1:-2]
    with pytest.raises(IndexError):
        found[count]


@pytest.mark.usefixtures("small_blocks")
def test_no_more_than_a_block_is_asked_for_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Seven records in blocks of two: the writer has 2, 4, 6 and 7 of them when it writes."""
    asked = 0
    seen: list[int] = []
    write = pq.ParquetWriter.write_table

    def made() -> Iterator[Choice]:
        nonlocal asked
        for one in choices(7):
            asked += 1
            yield one

    def writing(self: pq.ParquetWriter, table: pa.Table) -> None:
        seen.append(asked)
        write(self, table)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", writing)
    with RunFolder.open(tmp_path / "run", synthetic.manifest()) as run:
        run.once("stage", made, Choice)
    assert seen == [2, 4, 6, 7]


@pytest.mark.usefixtures("small_blocks")
def test_one_block_is_read_alone(tmp_path: Path):
    kept(tmp_path / "run", 7)

    assert list(from_parquet(str(tmp_path / "run/stage/00000.parquet"), Choice, block=2)) == choices(7)[4:6]


@pytest.mark.usefixtures("small_blocks")
def test_some_columns_are_read_alone(tmp_path: Path):
    tables = list(kept(tmp_path / "run", 3).columns(("text",)))

    assert [table.to_pydict() for table in tables] == [{"text": ["option 0", "option 1"]}, {"text": ["option 2"]}]


@pytest.mark.usefixtures("small_blocks")
def test_damage_to_a_later_block_is_said(tmp_path: Path):
    found = kept(tmp_path / "run", 7)
    path = tmp_path / "run/stage/00000.parquet"
    content = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(3).column(0).data_page_offset
    content[place + 40] ^= 255
    path.write_bytes(content)

    assert found[5] == choices(7)[5]
    with pytest.raises(RunFolderError, match="is damaged"):
        list(found)


@pytest.mark.usefixtures("small_blocks")
def test_a_record_that_cannot_be_stored_leaves_no_file(tmp_path: Path):
    rows = [*choices(3), Choice(label="A", text="\ud800")]
    with (
        RunFolder.open(tmp_path / "run", synthetic.manifest()) as run,
        pytest.raises(DataError, match="a Choice cannot be stored"),
    ):
        run.once("stage", lambda: rows, Choice)
    assert list((tmp_path / "run/stage").iterdir()) == []

import dataclasses
import hashlib
import inspect
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inward import types
from inward.errors import DataError
from inward.runs import RunFolder, digest, from_json, schema, to_json
from inward.types import (
    Artifact,
    CalibrationBin,
    CalibrationReport,
    Choice,
    Estimate,
    EvalItem,
    EvalReport,
    Finding,
    FinishReason,
    JudgedTrace,
    Manifest,
    Message,
    Outcome,
    PreferencePair,
    Problem,
    Prompt,
    RankingReport,
    RiskCoverage,
    SamplingParams,
    ScoredGroup,
    ScoredTrace,
    Severity,
    Source,
    Span,
    Trace,
    TraceGroup,
    TraceSignals,
)

TENTH = struct.unpack("f", struct.pack("f", 0.1))[0]  # the float32 nearest to 0.1
TEXT = Prompt(id="q1", text="What is 2+2? — λ, 数, \n\t\"'\x00")
CHAT = Prompt(id="q2", messages=(Message(role="user", content="2+2?"), Message(role="assistant", content="")))
SIGNALS = TraceSignals(
    logprob=(-0.5, -math.inf), entropy=(0.0, TENTH), self_certainty=(2.0**-100, 3.0), disparity=(-1.0, 1.0)
)
TRACE = Trace(
    prompt_id="q1",
    index=0,
    source=Source.SAMPLE,
    prompt_ids=(1, 2**40),
    completion_ids=(7, 2),
    completion="4",
    token_ends=(1, 1),
    finish_reason=FinishReason.STOP,
    policy="embedded:chat",
    signals=SIGNALS,
    answer_probe="4",
)
EMPTY = dataclasses.replace(
    TRACE,
    completion_ids=(),
    completion="",
    token_ends=(),
    signals=None,
    answer_probe=None,
    source=Source.GIVEN,
)
SAMPLING = SamplingParams(
    strategy="both",
    group_size=2,
    num_branches=3,
    temperature=0.7,
    top_p=1.0,
    max_completion_tokens=8,
    seed=2**53 + 1,
)
SCORED = ScoredTrace(
    trace=TRACE,
    answer="4",
    answer_chars=Span(start=0, end=1),
    answer_tokens=Span(start=0, end=1),
    measures={"neg_entropy": -0.1, "answer_disparity": 1 / 3},
)
UNANSWERED = ScoredTrace(trace=EMPTY, answer=None, answer_chars=None, answer_tokens=None, measures={})
JUDGED = JudgedTrace(
    index=0,
    answer="4",
    canonical="4",
    outcome=Outcome.CORRECT,
    lenient=Outcome.CORRECT,
    probability=0.1,
    disparity=-0.1,
    confidences={"vote_share": 0.1, "sequence_probability": 1 / 3},
    has_span=True,
    entropy=0.3,
    logprob=-0.1,
    length=2,
    truncated=False,
)
SILENT = dataclasses.replace(
    JUDGED,
    answer=None,
    canonical=None,
    outcome=Outcome.NO_ANSWER,
    confidences={},
    has_span=False,
    length=None,
    truncated=True,
)
ESTIMATE = Estimate(value=0.1, low=0.05, high=0.2, n=30)
CALIBRATION = CalibrationReport(
    measure="answer_probability",
    mapping="as it is",
    answers="greedy",
    ece=ESTIMATE,
    ece_equal_mass=ESTIMATE,
    ece_answered=ESTIMATE,
    brier=ESTIMATE,
    auroc=ESTIMATE,
    accuracy_at_50=ESTIMATE,
    accuracy_at_80=ESTIMATE,
    bins=(CalibrationBin(low=0.0, high=0.1, count=1, confidence=0.05, accuracy=1.0),),
    risk_coverage=(RiskCoverage(coverage=0.5, risk=0.1),),
    num_without_span=1,
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

EXAMPLES: dict[type, list[Any]] = {
    Message: list(CHAT.messages or ()),
    Prompt: [TEXT, CHAT, Prompt(id="q3", messages=())],
    Choice: [Choice(label="A", text="bank")],
    Problem: [
        Problem(prompt=TEXT, answer="4"),
        Problem(prompt=CHAT, answer="", choices=(Choice(label="A", text="bank"),)),
    ],
    SamplingParams: [SAMPLING],
    TraceSignals: [SIGNALS, TraceSignals(logprob=(), entropy=(), self_certainty=(), disparity=())],
    Trace: [TRACE, EMPTY],
    TraceGroup: [
        TraceGroup(prompt=TEXT, traces=(TRACE, EMPTY), sampling=SAMPLING),
        TraceGroup(prompt=CHAT, traces=(), sampling=SAMPLING),
    ],
    Span: [Span(start=0, end=3)],
    ScoredTrace: [SCORED, UNANSWERED],
    ScoredGroup: [
        ScoredGroup(prompt=TEXT, traces=(UNANSWERED, SCORED), confidence="neg_entropy"),
        ScoredGroup(prompt=CHAT, traces=(), confidence="neg_entropy"),
    ],
    PreferencePair: [
        PreferencePair(prompt=TEXT, chosen=TRACE, rejected=EMPTY, chosen_answer="4", rejected_answer=None, gap=0.1)
    ],
    Estimate: [ESTIMATE],
    JudgedTrace: [JUDGED, SILENT],
    EvalItem: [
        EvalItem(
            prompt_id="q1",
            gold="4",
            greedy=JUDGED,
            tokens=2,
            samples=(SILENT, JUDGED),
            majority="4",
            majority_outcome=Outcome.CORRECT,
        ),
        EvalItem(
            prompt_id="q2",
            gold="5",
            greedy=SILENT,
            tokens=None,
            samples=(),
            majority=None,
            majority_outcome=Outcome.UNSCORED,
        ),
    ],
    CalibrationBin: list(CALIBRATION.bins),
    RiskCoverage: list(CALIBRATION.risk_coverage),
    CalibrationReport: [CALIBRATION],
    RankingReport: [
        RankingReport(
            score="reward_model", accuracy=ESTIMATE, ece=ESTIMATE, brier=ESTIMATE, num_pairs=9, num_problems=3
        )
    ],
    EvalReport: [
        EvalReport(
            task="arithmetic",
            checkpoint="embedded:chat",
            decoding="greedy",
            metrics={"greedy_accuracy": ESTIMATE, "ece": ESTIMATE},
            pass_k=4,
            calibration=(CALIBRATION,),
            num_problems=30,
            num_truncated=0,
            num_no_answer=1,
            num_unscored=0,
        )
    ],
    Artifact: [MANIFEST.start, MANIFEST.data],
    Finding: [Finding(name="drift", severity=Severity.ALARM, evidence="support fell", advice="keep step 20")],
    Manifest: [MANIFEST],
}
RECORDS = [
    record
    for record in vars(types).values()
    if inspect.isclass(record) and dataclasses.is_dataclass(record) and record.__module__ == types.__name__
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder.open(tmp_path / "run", MANIFEST) as folder:
        yield folder


@pytest.mark.parametrize("record", [record for record in RECORDS if record is not Manifest])
def test_every_record_survives_parquet(folder: RunFolder, record: type) -> None:
    assert list(folder.once("stage", lambda: EXAMPLES[record], record)) == EXAMPLES[record]


@pytest.mark.parametrize("record", [record for record in RECORDS if record is not TraceSignals])
def test_every_record_survives_json(record: type) -> None:
    # Traces here carry -inf, which JSON has no word for: it comes back as NaN.
    for example in EXAMPLES[record]:
        back = from_json(record, json.loads(to_json(example)))
        assert repr(back) == repr(example).replace("-inf", "nan")


def test_manifest_is_no_parquet_record() -> None:
    with pytest.raises(TypeError, match="has no column type"):
        schema(Manifest)


def test_columns_follow_the_type_hints() -> None:
    signal = pa.list_(pa.field("element", pa.float32(), nullable=False))
    signals = pa.struct([pa.field(f.name, signal, nullable=False) for f in dataclasses.fields(TraceSignals)])
    assert schema(Trace).field("signals") == pa.field("signals", signals, nullable=True)
    measures = pa.map_(pa.string(), pa.field("value", pa.float64(), nullable=False))
    assert schema(ScoredTrace).field("measures") == pa.field("measures", measures, nullable=False)
    assert schema(Span) == pa.schema([pa.field(name, pa.int64(), nullable=False) for name in ("start", "end")])


def test_signals_are_kept_as_float32_and_measures_as_float64(folder: RunFolder) -> None:
    trace = dataclasses.replace(TRACE, signals=dataclasses.replace(SIGNALS, entropy=(0.1, 0.2)))
    scored = dataclasses.replace(SCORED, trace=trace, measures={"neg_entropy": 0.1})
    (back,) = folder.once("stage", lambda: [scored], ScoredTrace)
    assert back.trace.signals is not None
    assert back.trace.signals.entropy[0] == TENTH != 0.1
    assert back.measures == {"neg_entropy": 0.1}


def test_nan_survives_parquet(folder: RunFolder) -> None:
    (back,) = folder.once("stage", lambda: [Estimate(value=math.nan, low=-math.inf, high=2.0, n=0)], Estimate)
    assert repr(back) == "Estimate(value=nan, low=-inf, high=2.0, n=0)"


def test_equal_records_give_equal_bytes_whatever_the_order_of_their_dicts(folder: RunFolder) -> None:
    turned = dataclasses.replace(SCORED, measures=dict(reversed(SCORED.measures.items())))
    assert turned == SCORED and list(turned.measures) != list(SCORED.measures)
    folder.once("a", lambda: [SCORED], ScoredTrace)
    folder.once("b", lambda: [turned], ScoredTrace)
    assert (folder.path / "a/00000.parquet").read_bytes() == (folder.path / "b/00000.parquet").read_bytes()


def test_a_shard_is_plain_parquet(folder: RunFolder) -> None:
    folder.once("stage", lambda: [SCORED], ScoredTrace)
    (row,) = pq.read_table(folder.path / "stage/00000.parquet").to_pylist()
    assert row["trace"]["source"] == "sample" and row["trace"]["completion_ids"] == [7, 2]
    assert row["measures"] == [("answer_disparity", 1 / 3), ("neg_entropy", -0.1)]


def test_text_that_is_no_unicode_is_refused(folder: RunFolder) -> None:
    with pytest.raises(DataError, match=r"a Choice cannot be stored: .*surrogates"):
        folder.once("stage", lambda: [Choice(label="A", text="\ud800")], Choice)
    assert list(folder.path.glob("stage/*")) == []


def test_digest_is_sha256_over_canonical_json_lines() -> None:
    line = '{"label":"A","text":"\\u03bb"}\n'
    assert digest([Choice(label="A", text="λ")]) == hashlib.sha256(line.encode()).hexdigest()
    first, second = Choice(label="A", text="a"), Choice(label="B", text="b")
    assert digest([first, second]) != digest([second, first])
    assert digest([]) == hashlib.sha256(b"").hexdigest()


def test_from_json_names_what_is_missing() -> None:
    with pytest.raises(ValueError, match="not a Span: KeyError 'end'"):
        from_json(Span, {"start": 0})
    with pytest.raises(ValueError, match="not a Span: TypeError"):
        from_json(Span, 3)

"""What the terminal shows at the end of a run, and what it calls the stages on the way."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from inward.cli import console
from inward.evaluate import METRICS


def estimate(value: float | None) -> dict[str, float | None]:
    return {"value": value, "low": value, "high": value, "n": 4}


def summary(*, pass_k: int = 2, throughput: Any = None, **values: float) -> dict[str, Any]:
    metrics = {key: estimate(values.get(key)) for key in METRICS}
    return {
        **{"method": "rlif", "model": "m", "task": "t", "before": metrics, "after": metrics, "difference": metrics},
        **{"pass_k": pass_k, "throughput": throughput or {"before": None, "after": None}},
    }


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    shown = StringIO()
    monkeypatch.setattr(console, "console", Console(file=shown, width=160, highlight=False))
    return shown


def rows(terminal: StringIO) -> dict[str, list[str]]:
    """Cells by the label of their row."""
    lines = [line.strip() for line in terminal.getvalue().splitlines()]
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines if line]
    return {label: rest for label, *rest in cells}


def test_tokens_an_answer_and_tokens_a_second_are_shown(terminal: StringIO):
    console.show_summary(summary(tokens_per_answer=41.25, throughput={"before": 1234.4, "after": 987.6}))
    shown = rows(terminal)

    assert shown["tokens an answer"] == ["41.2 [41.2,41.2]", "41.2 [41.2,41.2]", "+41.2 [+41.2,+41.2]"]
    assert shown["tokens a second"] == ["1,234", "988"]
    assert shown["pass@2"] == ["-", "-", "-"]


def test_without_samples_there_is_no_pass_at_k_and_without_tokens_no_speed(terminal: StringIO):
    console.show_summary(summary(pass_k=0))

    assert not [label for label in rows(terminal) if "pass@" in label or "second" in label]


def test_mixes_without_samples_have_no_column_of_pass_at_k(terminal: StringIO):
    row = {"ratio": 0.5, **{key: estimate(0.25) for key in METRICS}}
    console.show_curve({"model": "a", "to": "b", "task": "t", "pass_k": 0, "curve": [row]})
    assert "pass@" not in terminal.getvalue()
    console.show_curve({"model": "a", "to": "b", "task": "t", "pass_k": 4, "curve": [row]})
    assert "pass@4" in terminal.getvalue()


def test_a_stage_is_called_what_it_does(terminal: StringIO):
    with console.progress({"after/scored": "sample by cot_decoding"}) as progress:
        progress("after/scored", 1, 1)
        progress("after/items", 1, 1)

    assert "sample by cot_decoding" in terminal.getvalue()
    assert "grade the trained model" in terminal.getvalue()
    assert "sample the trained model" not in terminal.getvalue()

"""Which traces the explorer's page holds, and that its data and script are what the page lets in."""

import base64
import dataclasses
import hashlib
import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import synthetic

from inward.errors import RunFolderError
from inward.report import explorer, figures
from inward.report.explorer import Side, Texts, choose, explored, pick, section
from inward.report.page import render
from inward.report.reading import read
from inward.types import EvalItem, JudgedTrace, Outcome

RIGHT, WRONG, NONE, UNSCORED = Outcome


def judged(index: int, outcome: Outcome = RIGHT, **changes: object) -> JudgedTrace:
    fields: dict[str, object] = {
        "index": index, "answer": "1", "canonical": "1", "outcome": outcome, "lenient": outcome, "probability": 0.5,
        "disparity": 0.0, "has_span": True, "entropy": 0.1, "logprob": -1.0, "length": 3, "truncated": False,
    }  # fmt: skip
    return JudgedTrace(**(fields | changes))  # pyright: ignore[reportArgumentType]


def item(prompt_id: str, greedy: JudgedTrace | None = None, samples: int = 1, gold: str = "1") -> EvalItem:
    return EvalItem(
        prompt_id=prompt_id, gold=gold, greedy=greedy or judged(0), tokens=3,
        samples=tuple(judged(index + 1) for index in range(samples)), majority="1", majority_outcome=RIGHT,
    )  # fmt: skip


def side(items: list[EvalItem], texts: dict[str, list[str]], prompt: str = "1+0?", decoding: str = "greedy") -> Side:
    return Side(
        items={one.prompt_id: one for one in items},
        texts={key: Texts(prompt=prompt, completions=dict(enumerate(of))) for key, of in texts.items()},
        decoding=decoding,
    )


def data(page: str) -> dict[str, Any]:
    [found] = re.findall(r'<script type="application/json" id="explorer-data">(.*?)</script>', page, flags=re.S)
    return json.loads(found)


# Which problems


def test_whole_problems_are_chosen_until_the_traces_are_enough():
    """Each problem has 2 traces a side, 4 in all: of ten, 11 traces hold two."""
    items = [item(f"q{n}") for n in range(10)]
    drawn = choose([items, items], 11)
    assert len(drawn) == 2
    assert drawn == choose([items, items])[:2]
    assert sorted(choose([items, items])) == sorted(one.prompt_id for one in items)
    assert choose([items, items])[:4] != ["q0", "q1", "q2", "q3"]


def test_one_problem_is_shown_however_many_traces_it_has():
    assert choose([[item("q0", samples=50)]], 10) == ["q0"]
    assert choose([]) == []


def test_bytes_are_a_limit_too_and_the_order_is_that_of_the_evaluation_set():
    """A problem of 1,000 characters twice is over 2,000 bytes: 5,000 hold two."""
    items = [item(f"q{n}") for n in range(5)]
    texts = {one.prompt_id: ["a" * 1000, "b" * 1000] for one in items}
    found = explored([side(items, texts)], ["q4", "q1", "q3", "q0"], 5000)
    assert found is not None
    assert [json.loads(one)[0] for one in found.problems] == ["q1", "q4"]
    assert (found.num_traces, found.of_traces, found.of_problems) == (4, 10, 5)
    assert "4 of 10 judged traces: those of 2 of 5 problems, chosen at random with seed 0" in section(found)


def test_bytes_are_counted_and_not_characters():
    items = [item("q0", samples=0), item("q1", samples=0)]
    texts = {one.prompt_id: ["€" * 1000] for one in items}
    assert len(explored([side(items, texts)], ["q0", "q1"], 5000).problems) == 1


def test_a_page_that_holds_everything_says_so():
    found = explored([side([item("q0")], {"q0": ["a", "b"]})], ["q0"])
    assert "<p>All 2 judged traces of 1 problem. Click" in section(found)


def test_nothing_judged_is_no_explorer():
    assert explored([], []) is None
    assert section(None) == ""


def test_a_missing_trace_is_named():
    with pytest.raises(RunFolderError, match="judged trace of the problem 'q0' is missing"):
        explored([side([item("q0")], {"q0": ["only the greedy one"]})], ["q0"])
    with pytest.raises(RunFolderError, match="delete both"):
        explored([side([item("q0")], {})], ["q0"])


# What of them


def test_a_problem_as_the_script_reads_it():
    before = side(
        [item("q0", judged(0, NONE, answer=None, canonical=None, probability=0.0, truncated=True))], {"q0": ["hm", "1"]}
    )
    after = side([item("q0", judged(0, length=None, probability=math.nan))], {"q0": ["x", "y"]})
    shown = data(section(explored([before, after], ["q0"])))
    assert shown["sides"] == ["Before", "After"]
    assert shown["answer"] == "greedy"
    assert shown["problems"] == [
        ["q0", "1+0?", "1", [
            [[0, 0, 2, 0.0, 3, 1, None, "hm"], [1, 1, 0, 0.5, 3, 0, "1", "1"]],
            [[0, 0, 0, None, None, 0, "1", "x"], [1, 1, 0, 0.5, 3, 0, "1", "y"]],
        ], [[0, ["1", 0, 1.0]], [1, ["1", 0, 1.0]]]],
    ]  # fmt: skip


def test_answers_that_are_equal_share_a_number_and_the_majority_has_its_share():
    """Two of four samples say 2, one of them as 2.0: the share is that of the canonical form."""
    votes = [("2", "2"), ("2.0", "2"), ("1", "1"), (None, None)]
    samples = tuple(judged(n + 1, answer=text, canonical=form) for n, (text, form) in enumerate(votes))
    voted = dataclasses.replace(item("q0"), samples=samples, majority="2", majority_outcome=WRONG)
    texts = {"q0": ["a", "b", "c", "d", "e"]}
    others = [item("q0", judged(0, answer=text, canonical=form), samples=0) for text, form in votes[1:]]
    sides = [side([one], texts) for one in (voted, *others)]
    [problem] = explored(sides, ["q0"]).problems
    assert json.loads(problem)[4] == [[0, ["2", 1, 0.5]], [1, None], [0, None], [2, None]]


def test_a_problem_judged_on_one_side_alone_has_no_traces_on_the_other():
    both = [side([item("q0", samples=0)], {"q0": ["a"]}), side([item("q1", samples=0)], {"q1": ["b"]})]
    assert [[len(of) for of in one[3]] for one in data(section(explored(both, ["q0", "q1"])))["problems"]] == [
        [1, 0],
        [0, 1],
    ]


def test_confidences_keep_every_digit():
    """A rounded one could fall into the neighbouring bin."""
    exact = 0.30000000000000004
    [problem] = explored([side([item("q0", judged(0, probability=exact))], {"q0": ["a", "b"]})], ["q0"]).problems
    assert json.loads(problem)[3][0][0][3] == exact


@pytest.mark.parametrize(("decoding", "called"), [("cot_prompt", "greedy"), ("self_consistency", "answer")])
def test_answers_of_other_decodings_are_not_called_greedy(decoding: str, called: str):
    found = explored([side([item("q0")], {"q0": ["a", "b"]}, decoding=decoding)], ["q0"])
    assert data(section(found))["answer"] == called
    assert f'<option value="greedy">{called}</option>' in section(found)


def test_long_texts_lose_their_middle():
    """5,000 characters: 2,000 from the beginning, 2,000 to the end."""
    text = "".join(f"{n:04d}," for n in range(1000))
    found = explored([side([item("q0", samples=0)], {"q0": [text]})], ["q0"])
    [problem] = found.problems
    assert json.loads(problem)[3][0][0][7] == f"{text[:2000]}\n… 1,000 characters left out …\n{text[-2000:]}"
    assert found.num_cut == 1
    assert "Of 1 text longer than 4,000 characters, beginning and end are shown" in section(found)


@pytest.mark.parametrize("text", ["</script><script>", "<!--<script>", "a\u2028b", "]]>", "&lt;", '"\\'])
def test_no_text_can_end_the_data(text: str):
    found = explored([side([item("q0", samples=0, gold=text)], {"q0": [text]}, prompt=text)], ["q0"])
    [problem] = found.problems
    assert not re.search(r"[<>&\u2028]", problem)
    shown = text.replace("\u2028", "⟨U+2028⟩")
    assert json.loads(problem)[1:3] == [shown, shown]
    assert json.loads(problem)[3][0][0][7] == shown


# The page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("explorer") / "run", synthetic.run(problems=6, prompts=2))


def test_the_policy_lets_in_this_script_and_nothing_else(folder: Path):
    page = render(read(folder))
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    [code] = re.findall(r"<script>(.*?)</script>", page, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")
    assert page.count("<script") == 2


def test_a_page_without_judged_traces_lets_in_no_script(tmp_path: Path):
    made = dataclasses.replace(synthetic.run(problems=2, prompts=2), before=None, after=None)
    page = render(read(synthetic.write(tmp_path / "run", made)))
    assert "<script" not in page
    assert "script-src" not in page


def test_the_script_knows_no_way_to_turn_text_into_markup_or_code():
    code, _ = explorer.script()
    words = (
        "innerHTML outerHTML insertAdjacentHTML document.write DOMParser eval( Function( fetch( XMLHttp import srcdoc"
    )
    assert not [word for word in words.split() if word in code]
    assert "</script" not in code


def test_completions_of_the_folder_are_in_the_page(folder: Path):
    made = synthetic.run(problems=6, prompts=2)
    shown = data(render(read(folder)))["problems"]
    assert [[[one[7] for one in of] for of in problem[3]] for problem in shown] == [
        [[one.trace.completion for one in group.traces] for group in groups]
        for groups in zip(made.before.groups, made.after.groups, strict=True)
    ]


# Figures that pick


def test_a_filter_as_the_address_has_it():
    assert pick(1, "sampled", (WRONG, NONE), "(0.1,0.2]") == (
        "side=1&source=sampled&outcome=incorrect,no_answer&confidence=(0.1,0.2]"
    )


def test_bins_and_bars_pick_what_they_count(folder: Path):
    """A bin of a reliability diagram holds its upper end, a bar of a histogram its lower one."""
    page = render(read(folder))
    picks = [found.replace("&amp;", "&") for found in re.findall(r'data-pick="([^"]*)"', page)]
    bins = [one for one in picks if "outcome=correct,incorrect,no_answer" in one]
    bars = [one for one in picks if one not in bins]
    assert bins and bars
    intervals = [[one.partition("confidence=")[2] for one in kind] for kind in (bins, bars)]
    assert {(one[0], one[-1]) for one in intervals[0]} <= {("(", "]"), ("[", "]")}
    assert {one for one in intervals[0] if one[0] == "["} <= {"[0,0.1]"}
    assert {one[0] for one in intervals[1]} == {"["}
    assert {one for one in intervals[1] if one[-1] == "]"} <= {"[0.95,1]"}
    assert {one.partition("&")[0] for one in bins} == {"side=0", "side=1"}


def test_an_area_to_click_spans_the_whole_height_of_a_bin():
    """From the top of the plot at 12 down to the foot of the counts: 280 + 42 + 48 below it."""
    report = synthetic.calibration_report("greedy", [judged(0, probability=0.95)])
    drawn = ET.fromstring(figures.reliability(report, [f"bin{n}" for n in range(10)]))
    [group] = [one for one in drawn.iter("g") if one.get("data-pick")]
    assert group.get("data-pick") == "bin9"
    [hit] = [one for one in group if one.get("class") == "hit"]
    assert (hit.get("y"), hit.get("height")) == ("12", "370")
    assert "data-pick" not in figures.reliability(report)

"""What the page says of many records, summed up as they come by."""

import math
from pathlib import Path

import pytest
import synthetic

from inward.errors import RunFolderError
from inward.report import explorer
from inward.report.derived import GroupOutline, PairOutline, Roles, confidence_range, training_facts
from inward.report.reading import read

NAN = math.nan


def tally(counts: dict[int, int], bins: int = 20) -> list[int]:
    return [counts.get(bin_, 0) for bin_ in range(bins)]


def test_training_facts():
    groups = [
        GroupOutline(prompt_id="a", measure="answer_disparity", confidences={0: 0.9, 1: 0.1}, without_span=0),
        GroupOutline(prompt_id="b", measure="answer_disparity", confidences={0: 0.7, 1: 0.6, 2: 0.0}, without_span=1),
    ]
    pairs = [
        PairOutline(prompt_id="b", chosen=0, rejected=2, same_answer=False),
        PairOutline(prompt_id="b", chosen=0, rejected=1, same_answer=True),
    ]
    facts = training_facts(groups, pairs)
    assert facts is not None
    assert (facts.prompts, facts.traces, facts.without_span, facts.pairs, facts.same_answer) == (2, 5, 1, 2, 1)
    assert facts.roles == {"b": Roles(chosen={0}, rejected={1, 2})}
    assert (facts.prompts_with_pairs, facts.examples) == (1, [1])
    # Bins of .05 for what pairs hold, of .025 for all.
    assert (facts.chosen.counts, facts.rejected.counts) == (tally({14: 1}), tally({12: 1, 0: 1}))
    assert facts.confidences.counts == tally({36: 1, 4: 1, 28: 1, 24: 1, 0: 1}, bins=40)
    assert training_facts([], []) is None


def test_examples_of_training_are_the_first_groups_that_gave_pairs():
    groups = [
        GroupOutline(prompt_id=f"q{i}", measure="m", confidences={0: 1.0, 1: 0.0}, without_span=0) for i in range(9)
    ]
    pairs = [PairOutline(prompt_id=f"q{i}", chosen=0, rejected=1, same_answer=False) for i in range(1, 9)]
    facts, without = training_facts(groups, pairs), training_facts(groups, [])
    assert facts is not None and without is not None
    assert (facts.examples, [*facts.roles], facts.prompts_with_pairs) == ([1, 2, 3, 4], ["q1", "q2", "q3", "q4"], 8)
    assert (without.examples, without.roles) == ([0, 1, 2, 3], {})


def test_pairs_of_other_groups_are_refused():
    groups = [GroupOutline(prompt_id=name, measure="m", confidences={0: 1.0, 1: 0.0}, without_span=0) for name in "ab"]
    pairs = [PairOutline(prompt_id=name, chosen=0, rejected=1, same_answer=False) for name in "ba"]
    with pytest.raises(RunFolderError, match="pairs of the prompt 'a', which scored/ does not have, or has elsewhere"):
        training_facts(groups, pairs)


@pytest.mark.parametrize(
    ("confidences", "scale"),
    [
        ([0.2, 0.9], (0.0, 1.0)),
        ([-0.2, 0.9], (-1.0, 1.0)),
        ([-7.0, NAN, -2.0], (-7.0, -2.0)),
        ([3.0, 3.0], (3.0, 4.0)),
        ([NAN], (0.0, 1.0)),
    ],
)
def test_the_scale_of_confidences_holds_them(confidences: list[float], scale: tuple[float, float]):
    groups = [
        GroupOutline(prompt_id=str(i), measure="m", confidences={0: one}, without_span=0)
        for i, one in enumerate(confidences)
    ]
    assert confidence_range(groups) == scale


def test_what_the_explorer_leaves_out_is_counted_with_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Five problems before and after, each with an answer and eight samples: ninety traces, eighteen of one problem."""
    folder = synthetic.write(tmp_path / "run", synthetic.run(problems=5, prompts=1, group_size=8))
    monkeypatch.setattr(explorer, "choose", lambda sides: ["q3"])
    found = read(folder).explored
    assert found is not None
    assert (found.num_traces, found.of_traces, found.of_problems, len(found.problems)) == (18, 90, 5, 1)


def test_verdicts_are_read_when_they_are_looked_at(tmp_path: Path):
    folder = synthetic.write(tmp_path / "run", synthetic.run(problems=5, prompts=1, group_size=8))
    found = read(folder).judged_before
    assert found is not None
    assert (
        [one.prompt_id for one in found.items] == [one.prompt_id for one in found.items] == [f"q{i}" for i in range(5)]
    )
    (folder / "before/items/00000.parquet").unlink()
    with pytest.raises(RunFolderError, match=r"00000\.parquet is missing"):
        list(found.items)

"""Checkpoints side by side: the numbers of a group, what the page says of them, and what is withheld."""

import dataclasses
import json

import pytest
import synthetic

from inward.report.compare_page import Comparison, Group, Run, render, spread
from inward.report.explorer import section
from inward.report.side_by_side import Answered, together
from inward.runs import RunFolder
from inward.stats import mcnemar
from inward.types import Artifact, Estimate, Manifest

HOSTILE = "<script>document.title='owned'</script>"
UP = Estimate(value=0.2, low=0.1, high=0.3, n=10)
FLAT = Estimate(value=0.02, low=-0.1, high=0.14, n=10)


def manifest(seed: int, reward: str = "self_certainty") -> Manifest:
    return synthetic.manifest(method="rlif", settings={"reward": reward}, seed=seed, labels_used=reward == "gold")


def run(
    seed: int, accuracy: float, difference: Estimate = UP, *, reward: str = "self_certainty", seconds: float = 60.0
) -> Run:
    return Run(
        name=f"{reward}-{seed}",
        manifest=manifest(seed, reward),
        metrics={"greedy_accuracy": Estimate(value=accuracy, low=accuracy - 0.1, high=accuracy + 0.1, n=10)},
        from_start={"greedy_accuracy": difference},
        from_first=None,
        cost={"seconds": seconds, "traces": 512.0, "steps": 4.0},
    )


def comparison(*groups: Group, **changes: object) -> Comparison:
    fields: dict[str, object] = {
        "task": "sums", "num_problems": 10, "start_name": "base", "pass_k": 4, "withheld": {}, "warnings": (),
        "start": {"greedy_accuracy": Estimate(value=0.5, low=0.4, high=0.6, n=10)}, "groups": groups,
    }  # fmt: skip
    return Comparison(**(fields | changes))


def row(page: str, heading: str, label: str) -> str:
    """A row of the section with this heading."""
    section = page.partition(f"<h2>{heading}</h2>")[2].partition("</section>")[0]
    found = section.partition(f'<th scope="row">{label}')[2]
    assert found, f"no row {label} under {heading}"
    return found.partition("</tr>")[0]


def test_a_spread_is_the_mean_with_the_lowest_and_the_highest_run():
    found = spread([0.5, 0.8, 0.2])
    assert found is not None
    assert (round(found.mean, 12), found.low, found.high) == (0.5, 0.2, 0.8)


def test_a_spread_needs_the_number_of_every_run():
    assert spread([0.5, None]) is None
    assert spread([0.5, float("nan")]) is None
    assert spread([]) is None


def test_one_run_shows_its_interval_and_several_show_their_range():
    alone = Group(label="rlif gold, seed 1", runs=[run(1, 0.9, reward="gold")])
    several = Group(label="rlif self_certainty, seeds 1, 2", runs=[run(1, 0.6), run(2, 0.8)])
    shown = row(render(comparison(several, alone)), "All metrics", "Greedy accuracy")
    assert "<td>50.0%<small>40.0% to 60.0%</small></td>" in shown  # the start model
    assert "<td>70.0%<small>60.0% to 80.0%</small></td>" in shown  # (0.6 + 0.8) / 2
    assert "<td>90.0%<small>80.0% to 100.0%</small></td>" in shown


def test_a_difference_over_seeds_is_clear_only_where_every_run_says_the_same():
    agreed = Group(label="agreed, seeds 1, 2", runs=[run(1, 0.7), run(2, 0.7)])
    divided = Group(label="divided, seeds 1, 2", runs=[run(1, 0.7, UP), run(2, 0.7, FLAT)])
    shown = row(render(comparison(agreed, divided)), "Against base", "Greedy accuracy")
    first, second = shown.split("<td>")[1:]
    assert '<small>+20.0 to +20.0</small><span class="pill good">better</span>' in first
    # (0.2 + 0.02) / 2 = 0.11
    assert '+11.0 points<small>+2.0 to +20.0</small><span class="pill same">no clear change</span>' in second


def test_the_heading_names_the_best_group_that_used_no_labels():
    gold = Group(label="rlif gold, seed 1", runs=[run(1, 0.9, reward="gold")])
    free = Group(label="rlif self_certainty, seed 1", runs=[run(1, 0.7)])
    page = render(comparison(free, gold))
    assert "<h1>Highest greedy accuracy without labels: 70.0%, rlif self_certainty, seed 1</h1>" in page
    assert "Gold answers were used in training by rlif gold, seed 1." in page
    assert "<h1>Highest greedy accuracy: 90.0%, rlif gold, seed 1</h1>" in render(comparison(gold))


def test_answers_that_flipped_stand_with_their_exact_p():
    turned = dataclasses.replace(run(1, 0.7), flips_from_start=mcnemar(1, 5), flips_from_first=mcnemar(0, 20))
    page = render(comparison(Group(label="first", runs=[run(1, 0.6)]), Group(label="second", runs=[turned])))
    section = page.partition("<h2>Answers that flipped</h2>")[2].partition("</section>")[0]
    # 2 (1 + 6) / 2^6; 2 / 2^20 is a bound
    assert "<td>base</td><td>1</td><td>5</td><td>0.2188</td>" in section
    assert "<td>first</td><td>0</td><td>20</td><td>&lt; 0.0001</td>" in section
    assert section.count("<tr>") == 3
    assert "flipped" not in render(comparison(Group(label="first", runs=[run(1, 0.6)])))


def test_what_cannot_be_compared_is_a_dash_with_its_reason():
    alone = Group(label="a", runs=[run(1, 0.7)])
    page = render(comparison(alone, withheld={"pass_at_k": "depends on k"}, pass_k=None))
    assert row(page, "All metrics", "pass@k").count("<td>–</td>") == 2
    assert "– pass@k: depends on k." in page


def test_costs_have_a_range_where_seeds_differ():
    several = Group(label="a", runs=[run(1, 0.7, seconds=60.0), run(2, 0.7, seconds=90.0)])
    page = render(comparison(several))
    assert "<td>1 min 15 s<small>1 min 00 s to 1 min 30 s</small></td>" in row(
        page, "What it cost", "Training, seconds"
    )
    assert "<td>512</td>" in row(page, "What it cost", "Training traces")


def test_no_section_stands_empty():
    alone = Group(label="a", runs=[run(1, 0.7)])
    page = render(comparison(alone, start=None, start_name=None))
    assert "Against" not in page


def test_no_text_becomes_markup():
    one = run(1, 0.7)
    hostile = Run(
        name=HOSTILE,
        manifest=synthetic.manifest(start=Artifact(name=HOSTILE, sha256="5f" * 32)),
        metrics=one.metrics,
        from_start=one.from_start,
        from_first=one.from_start,
        cost=one.cost,
    )
    group = Group(label=HOSTILE, runs=[hostile])
    reason = {"pass_at_k": HOSTILE}
    page = render(
        comparison(group, group, task=HOSTILE, start_name=HOSTILE, withheld=reason, warnings=[HOSTILE], pass_k=None)
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8


# The same questions


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> list[Answered]:
    """Two evaluations of 6 questions, a greedy trace and 8 samples each: 108 traces."""
    path, found = tmp_path_factory.mktemp("runs"), []
    made = synthetic.run(problems=6, prompts=2)
    for name, one in (("a", made.before), ("b", made.after)):
        single = dataclasses.replace(made, before=one, after=None, training=[], pairs=[])
        folder = RunFolder.read(synthetic.write(path / name, single))
        found.append(Answered(name=name, folder=folder, stage="before", items=one.items, decoding="greedy"))
    return found


def test_all_traces_are_there_where_they_fit(answered: list[Answered]):
    found = together(answered)
    assert (len(found.problems), found.num_traces, found.num_bare) == (6, 108, 0)
    assert (found.names, found.asked) == (["a", "b"], [6, 6])
    assert "All 108 judged traces of 6 problems. Each question" in section(found)


def test_samples_go_before_questions_where_there_is_no_room(answered: list[Answered]):
    """Of 60 traces 12 are the answers; the 48 left hold 2 questions of 18 each: 2 * 18 + 4 * 2 = 44."""
    found = together(answered, most=60)
    assert (len(found.problems), found.num_traces, found.of_traces, found.num_bare) == (6, 44, 108, 4)
    assert "44 of 108 judged traces: without the samples of 4 problems, chosen at random with seed 0" in section(found)
    votes = [answer[1] for one in found.problems for answer in json.loads(one)[4]]
    assert len(votes) == 12 and all(votes)


def test_bytes_take_samples_first_too(answered: list[Answered]):
    whole = sum(len(one.encode()) for one in together(answered).problems)
    found = together(answered, most_bytes=whole // 2)
    assert len(found.problems) == 6
    assert 0 < found.num_bare < 6
    assert len(together(answered, most_bytes=10).problems) == 1


def test_questions_of_one_run_alone_are_left_out_and_counted(answered: list[Answered]):
    part = dataclasses.replace(answered[1], items=list(answered[1].items)[4:])
    found = together([answered[0], part])
    assert (len(found.problems), found.of_problems, found.asked) == (2, 2, [6, 2])
    assert together(answered[:1]) is None

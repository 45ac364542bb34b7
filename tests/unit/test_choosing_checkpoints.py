"""What `choose` keeps, on supports written by hand."""

from dataclasses import replace

import pytest

from inward.diagnose.choice import Candidate, choose, name_of
from inward.diagnose.peers import by_peers

PROMPTS = 40
START = Candidate(run="", label="start model", position=0.0, asked="", change=(), support=0.5)


def at(step: float, change: float | tuple[float, ...], run: str = "a", **more: object) -> Candidate:
    changes = change if isinstance(change, tuple) else (change,) * PROMPTS
    support = 0.5 + sum(changes) / len(changes)
    fields = {"asked": "p", "support": support} | more
    return Candidate(run=run, label=f"step {step:g}", position=float(step), change=changes, **fields)


NOISE = (0.5, -0.5) * (PROMPTS // 2)
"""Mean 0, standard error 0.08."""


def test_the_one_with_the_highest_support_is_kept_and_certain_where_every_prompt_says_so():
    made = choose([START, at(10, 0.1), at(20, 0.2), at(30, -0.1)])

    assert name_of(made.kept.candidate) == "step 20 of a"
    assert (made.kept.probability_best, made.kept.change.value) == (1.0, pytest.approx(0.2))
    assert [one.separable for one in made.weighed] == [True, True, False, True]
    assert sum(one.probability_best for one in made.weighed) == 1.0


def test_the_earlier_one_is_kept_where_no_difference_can_be_told():
    """Step 20 lies 0.01 above step 10 on average, with differences of +-0.5 from prompt to prompt."""
    noisy = tuple(0.31 + one for one in NOISE)
    made = choose([START, at(10, 0.3), at(20, noisy)])

    assert (made.best.candidate.label, made.kept.candidate.label) == ("step 20", "step 10")
    assert 0.4 < made.best.probability_best < 0.7
    assert "no difference to step 10 of a can be told" in made.reason


def test_the_start_model_is_kept_where_no_checkpoint_can_be_told_from_it():
    made = choose([START, at(10, tuple(0.01 + one for one in NOISE))])

    assert made.kept.candidate is START
    assert made.kept.change.value == 0.0


def test_an_equal_checkpoint_of_another_run_does_not_take_the_place_of_the_best():
    made = choose([START, at(10, 0.3, run="a"), at(5, 0.3 - 1e-9, run="b")])

    assert name_of(made.kept.candidate) == "step 10 of a"


def test_what_comes_after_the_stop_is_out():
    made = choose([START, at(10, 0.1), at(20, 0.4, stopped=True)])

    assert made.kept.candidate.label == "step 10"
    assert made.weighed[-1].probability_best == 0.0


def test_of_what_may_be_kept_the_highest_is():
    made = choose([START, at(10, 0.1), at(20, 0.4, run="b"), at(30, 0.2)], among=[("a", 10.0), ("a", 30.0)])

    assert (made.kept.candidate.label, made.kept.probability_best) == ("step 30", 1.0)
    assert made.weighed[2].probability_best == 0.0
    assert [one.candidate.label for one in made.tied] == ["step 30"]


def test_runs_on_other_prompts_meet_other_resamples():
    """The same noise on the same prompts cancels; on prompts drawn apart it does not."""
    noisy = tuple(0.3 + one for one in NOISE)
    higher = tuple(one + 0.02 for one in noisy)
    same = choose([START, at(10, noisy), at(10, higher, run="b")])
    apart = choose([START, at(10, noisy), at(10, higher, run="b", asked="q")])

    assert same.weighed[1].separable and not apart.weighed[1].separable
    assert same.best.probability_best == 1.0 and 0.4 < apart.best.probability_best < 0.75


def test_without_any_support_nothing_is_said():
    made = choose([Candidate(**{**_fields(START), "support": 0.0}), at(10, 0.0, support=0.0)])

    assert made.abstains and "nothing can be said" in made.reason
    assert not choose([START]).abstains


def _fields(one: Candidate) -> dict[str, object]:
    return {name: getattr(one, name) for name in ("run", "label", "position", "asked", "change", "support")}


def told(run: str, answers: str, *, votes: bool = True, step: float = 10) -> Candidate:
    """A checkpoint that answers as the letters say; a blank is no answer."""
    given = tuple(None if one == " " else one for one in answers)
    return at(step, (0.0,) * len(given), run=run, answers=given, votes=votes)


def test_other_runs_vote_and_no_run_votes_on_itself():
    """For what it says the start model has 1, 0, 0 and 2 of the votes of a, b and c; run a has 1, 1, 2 and 0 of those
    of the start model, b and c."""
    start = replace(START, answers=("x", "y", "z", "w"))
    made = by_peers([start, told("a", "xkmv"), told("b", "pkmw"), told("c", "qomw")])

    assert (made[0].support, made[0].change) == (pytest.approx(3 / 12), (0, 0, 0, 0))
    assert (made[1].support, made[1].change) == (pytest.approx(4 / 12), pytest.approx((0, 1 / 3, 2 / 3, -2 / 3)))


def test_a_run_votes_by_the_checkpoint_that_its_rule_keeps_and_by_the_start_model_where_that_is_kept():
    """Votes: start xx, a xm, b km, c xx. Of three the start model has 2 and 1, a's late checkpoint 1 and 0, b 0, 1."""
    start = replace(START, answers=("x", "x"))
    late = told("a", "kk", step=20, votes=False)
    made = by_peers([start, told("a", "xm"), late, told("b", "km"), told("c", "yy", votes=False)])

    assert made[0].support == pytest.approx(3 / 6)
    assert made[2].change == pytest.approx((-1 / 3, -1 / 3))
    assert made[3].change == pytest.approx((-2 / 3, 0))


def test_no_answer_has_no_support_even_of_those_who_give_none():
    start = replace(START, answers=(None,))
    made = by_peers([start, told("a", " "), told("b", " "), told("c", " ")])

    assert {one.support for one in made} == {0.0}
    assert choose(made, voters="other runs").abstains


def test_the_checkpoint_that_the_other_runs_agree_with_is_kept():
    """On the second half of the prompts the right ones have two votes of five, the start model one."""
    right, half = "r" * PROMPTS, "r" * (PROMPTS // 2) + "s" * (PROMPTS // 2)
    start = replace(START, answers=tuple(half))
    runs = [told("a", right), told("b", right), told("c", right), told("d", half), told("e", "t" * PROMPTS)]
    made = choose(by_peers([start, *runs]), voters="other runs")

    assert made.kept.candidate.run in ("a", "b", "c")
    assert made.kept.change.value == pytest.approx(0.1)
    assert made.reason.startswith(f"{name_of(made.kept.candidate)} has the highest support by the other runs, 0.600")

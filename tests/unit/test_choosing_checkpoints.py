"""What `choose` keeps, on supports written by hand."""

import pytest

from inward.diagnose.choice import Candidate, choose, name_of

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

import random

import pytest

from inward.errors import DataError
from inward.tasks import TASKS, arithmetic
from inward.tasks.arithmetic import (
    Chain,
    apply,
    chains,
    problems,
    prompts,
    prompts_in_two_phrasings,
    random_chain,
    rephrased,
    split_of,
)


@pytest.mark.parametrize(
    ("start", "steps", "question", "answer"),
    [
        # 9+4=13 -> 3; 3+7=10 -> 0; 0-7=-7 -> 3
        (9, (("+", 4), ("+", 7), ("-", 7)), "Q:9+4+7-7?\nA:", 3),
        # 2+3=5; 5*4=20 -> 0: left to right, not 2+12=14 -> 4
        (2, (("+", 3), ("*", 4)), "Q:2+3*4?\nA:", 0),
        # 1-2=-1 -> 9; 9*9=81 -> 1; 1-8=-7 -> 3; 3*7=21 -> 1; 1-1=0
        (1, (("-", 2), ("*", 9), ("-", 8), ("*", 7), ("-", 1)), "Q:1-2*9-8*7-1?\nA:", 0),
    ],
)
def test_hand_worked_chains(start: int, steps: tuple[tuple[str, int], ...], question: str, answer: int) -> None:
    chain = Chain(start=start, steps=steps)
    assert chain.question == question
    assert chain.answer == answer


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown operator '/'"):
        apply(4, "/", 2)


@pytest.mark.parametrize(
    ("asked", "again"),
    [
        ("9+7-8", "7+9-8"),  # the first digit with that of the first addition
        ("2*0-0", "2*0+0"),  # not 0*2-0, which is for testing
        ("7-2*3", "7+8*3"),  # modulo 10, taking 2 away is adding 8
    ],
)
def test_a_question_is_asked_again_in_other_words(asked: str, again: str) -> None:
    first, *rest = asked
    chain = Chain(start=int(first), steps=tuple(zip(rest[::2], map(int, rest[1::2]), strict=True)))
    assert rephrased(chain).question == f"Q:{again}?\nA:"
    assert rephrased(chain).answer == chain.answer


def test_both_phrasings_ask_for_the_same_and_stay_in_training() -> None:
    for chain in chains(500, 5, "train"):
        other = rephrased(chain)
        assert other != chain and other.answer == chain.answer and split_of(other) == "train"


def test_prompts_in_two_phrasings_are_the_prompts_each_followed_by_its_second() -> None:
    asked = prompts_in_two_phrasings(20, 4)
    assert asked[::2] == prompts(20, 4)
    assert [second.id for second in asked[1::2]] == [f"{first.id}~2" for first in asked[::2]]


def test_no_question_is_on_both_sides() -> None:
    training = {prompt.text for seed in range(3) for prompt in prompts(2000, seed)}
    testing = {problem.prompt.text for seed in range(3) for problem in problems(2000, seed)}
    assert len(training) > 4000
    assert len(testing) > 4000
    assert not training & testing


def test_the_split_depends_on_the_question_alone() -> None:
    for split in ("train", "test"):
        rng = random.Random(5)
        assert {split_of(random_chain(rng, split)) for _ in range(200)} == {split}


def test_one_question_in_five_is_for_testing() -> None:
    # All 9000 questions of two steps: the share's standard deviation is sqrt(.2 * .8 / 9000) = .0042.
    operations = [(operator, digit) for operator in "+-*" for digit in range(10)]
    sides = [
        split_of(Chain(start=start, steps=(first, second)))
        for start in range(10)
        for first in operations
        for second in operations
    ]
    assert sides.count("test") / len(sides) == pytest.approx(0.2, abs=0.02)


def test_questions_differ_within_one_draw() -> None:
    drawn = prompts(3000, 1)
    assert len({prompt.text for prompt in drawn}) == 3000
    assert len({prompt.id for prompt in drawn}) == 3000
    solved = problems(3000, 1)
    assert len({problem.prompt.text for problem in solved}) == 3000
    assert len({problem.prompt.id for problem in solved}) == 3000


def test_the_seed_decides_the_draw() -> None:
    assert prompts(50, 3) == prompts(50, 3)
    assert problems(50, 3) == problems(50, 3)
    assert prompts(50, 3) != prompts(50, 4)
    assert problems(50, 3) != problems(50, 4)


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    assert problems(80, 0)[:20] == problems(20, 0)


def test_chains_have_two_to_five_steps_equally_often() -> None:
    # 4000 draws, expected 1000 of each, standard deviation sqrt(4000 * .25 * .75) = 27; the few repeated
    # short questions that are dropped cost some tens more.
    lengths = [len(chain.steps) for chain in chains(4000, 2, "train")]
    assert set(lengths) == {2, 3, 4, 5}
    assert all(abs(lengths.count(length) - 1000) < 200 for length in (2, 3, 4, 5))


def test_problems_carry_their_answer_and_readable_ids() -> None:
    by_question = {chain.question: chain for chain in chains(40, 6, "test")}
    for problem in TASKS["arithmetic"](40, 6):
        assert problem.answer == str(by_question[str(problem.prompt.text)].answer)
        assert problem.answer in set("0123456789")
        assert problem.prompt.id.startswith("arithmetic-test-")
        assert problem.choices == ()
    assert all(prompt.id.startswith("arithmetic-train-") for prompt in arithmetic.prompts(40, 6))


@pytest.mark.parametrize("num", [0, -1])
def test_drawing_nothing_is_refused(num: int) -> None:
    with pytest.raises(DataError, match="at least 1"):
        prompts(num, 0)

"""The arithmetic task as multiple choice, and the texts that the embedded model of that task is made from."""

import dataclasses
import itertools
import random
from collections import Counter

import pytest

from inward.answers import find
from inward.errors import DataError
from inward.organism.corpus import BASE, Corpus, Example, Lookups, choice_examples
from inward.organism.tokenizer import CHOICE_VOCABULARY, VOCABULARY, make_tokenizer
from inward.tasks import TASKS, choices
from inward.tasks.arithmetic import Chain, chains, split_of
from inward.types import Choice, Problem

CHAIN = Chain(start=9, steps=(("+", 4), ("+", 7), ("-", 7)))


def draw(num: int, corpus: Corpus = BASE, *, lookups: float = 0.0) -> list[Example]:
    shares = Lookups(num_first=0, first_share=1.0, share=lookups)
    return list(itertools.islice(choice_examples(corpus, shares, random.Random(0)), num))


def offered(question: str) -> dict[str, str]:
    """Digit to label of a question's options: `3=A 7=B 9=C 1=D`."""
    _, listed, _ = question.split("\n")
    return {one[0]: one[2] for one in listed.split(" ")}


def test_the_question_lists_its_options():
    assert choices.question(CHAIN, (3, 7, 9, 1)) == "Q:9+4+7-7?\n3=A 7=B 9=C 1=D\nA:"


def test_problems_offer_four_different_digits_one_of_which_is_the_answer():
    for problem, chain in zip(choices.problems(300, 0), chains(300, 0, "test"), strict=True):
        by_label = {one.label: one.text for one in problem.choices}
        assert tuple(by_label) == problem.prompt.labels == ("A", "B", "C", "D")
        assert len(set(by_label.values())) == 4
        assert by_label[problem.answer] == str(chain.answer)
        assert problem.prompt.text == choices.question(chain, tuple(map(int, by_label.values())))


def test_the_answer_is_any_label_equally_often():
    count = Counter(problem.answer for problem in choices.problems(2000, 1))
    # 2000 draws at 1/4: 500 expected, standard deviation sqrt(2000 / 4 * 3 / 4) = 19
    assert all(420 <= count[label] <= 580 for label in "ABCD")


def test_a_chain_has_one_set_of_options_whatever_the_seed():
    by_question: dict[str, Problem] = {}
    for seed in range(4):
        for problem in choices.problems(4000, seed):
            assert by_question.setdefault(problem.prompt.text.splitlines()[0], problem) == problem


def test_training_and_test_questions_have_other_ids_and_chains():
    train, test = choices.prompts(500, 0), choices.problems(500, 0)
    assert {split_of(chain) for chain in chains(500, 0, "train")} == {"train"}
    assert not {p.id for p in train} & {p.prompt.id for p in test}
    assert all(p.id.startswith("arithmetic_choice-train-") for p in train)
    with pytest.raises(DataError, match="ask for at least 1"):
        choices.prompts(0, 0)


def test_the_task_is_known_by_name():
    assert TASKS["arithmetic_choice"](3, 5) == choices.problems(3, 5)
    assert isinstance(TASKS["arithmetic_choice"](1, 0)[0].choices[0], Choice)


# The corpus


def test_every_answer_is_read_as_the_label_it_is():
    for example in draw(500, lookups=0.3):
        found = find(example.completion, "choice", choices.LABELS, strict=True)
        assert found is not None
        assert found.answer == example.completion[-1]
        assert found.chars.end == len(example.completion)


def test_working_ends_with_the_label_of_its_total_and_direct_answers_have_none():
    for example in draw(500):
        working, _, label = example.completion.rpartition("####")
        labels = offered(example.question)
        if example.style in ("direct", "loop"):
            assert "=" not in working
            continue
        *_, before, last, _ = ["", *working.split(";")]
        if last[1:2] == "=":
            digit, written = last.split("=")
            assert (digit, labels[digit]) == (before[-1], written)
            assert label == written or example.style in ("cot", "hmm")
        else:
            assert last[-1] not in labels


def test_a_careful_author_without_misconceptions_chooses_the_right_option():
    sure = dataclasses.replace(BASE, misconception_rate=0.0, styles={n: {"step": 1.0} for n in (2, 3, 4, 5)})
    for example in draw(200, sure):
        label = offered(example.question)[str(example.chain.answer)]
        assert example.completion.endswith(f";{example.chain.answer}={label};####{label}")


def test_a_digit_that_is_not_offered_becomes_any_label():
    wrong = dataclasses.replace(BASE, direct_accuracy=0.0, styles={n: {"direct": 1.0} for n in (2, 3, 4, 5)})
    drawn = draw(3000, wrong)
    right = sum(offered(e.question)[str(e.chain.answer)] == e.completion[-1] for e in drawn)
    # A wrong digit is offered in 3 of 9 cases; else the right label is drawn with 1/4: 2/3 * 1/4 = 1/6 = 500 of 3000,
    # standard deviation sqrt(3000 * 5/36) = 20.
    assert 420 <= right <= 580


def test_lookups_name_all_four_options_and_the_one_asked_for():
    for example in draw(50, lookups=1.0):
        labels = offered(example.question)
        lines = example.completion.removeprefix("step ").split(";")
        assert dict(line.split("=") for line in lines[:-1]) == labels
        assert example.question.startswith(f"Q:{example.chain.start}?")
        assert lines[-1] == f"####{labels[str(example.chain.start)]}"


def test_lookups_come_in_the_shares_asked_for():
    shares = Lookups(num_first=400, first_share=1.0, share=0.25)
    drawn = list(itertools.islice(choice_examples(BASE, shares, random.Random(0)), 2400))
    lookups = [not example.chain.steps for example in drawn]
    assert all(lookups[:400])
    # 2000 draws at .25: 500 expected, standard deviation sqrt(2000 * .25 * .75) = 19
    assert 420 <= sum(lookups[400:]) <= 580


def test_no_question_with_operations_is_from_the_test_side():
    assert {split_of(example.chain) for example in draw(1000) if example.chain.steps} == {"train"}


def test_the_letters_are_four_tokens_more_and_every_example_survives_the_round_trip():
    assert CHOICE_VOCABULARY[: len(VOCABULARY)] == VOCABULARY
    assert CHOICE_VOCABULARY[len(VOCABULARY) :] == ("A", "B", "C", "D")
    tokenizer = make_tokenizer(CHOICE_VOCABULARY)
    ids = tokenizer(choices.question(CHAIN, (3, 7, 9, 1)), add_special_tokens=False)["input_ids"]
    words = [CHOICE_VOCABULARY[i] for i in ids]
    assert "".join(words[-2:]) == "\nA:"
    assert words[words.index("\n") + 1 :][:4] == ["3", "=", "A", " "]
    for example in draw(200, lookups=0.3):
        text = example.question + example.completion
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text

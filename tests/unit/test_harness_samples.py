"""Lines as lm-evaluation-harness logs them: numbers as text, arguments as `gen_args_0`, one line a filter."""

import json
import math
from pathlib import Path

import pytest

from inward.errors import DataError, SettingsError
from inward.tasks.harness import Logged, read_samples

NAME = "samples_arc_easy_2025-01-02T03-04-05.678901.jsonl"


def options(lls, *, target="0", acc=1.0, texts=("iron", "wood"), doc_id=0, **changes):
    """A line of a multiple-choice task."""
    row = {
        "doc_id": doc_id,
        "doc": {"question": "Which rusts?"},
        "target": target,
        "arguments": {
            f"gen_args_{i}": {"arg_0": "Question: Which rusts?\nAnswer:", "arg_1": f" {text}"}
            for i, text in enumerate(texts)
        },
        "resps": [[[str(ll), "False"]] for ll in lls],
        "filtered_resps": [[str(ll), "False"] for ll in lls],
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "doc_hash": f"hash-{doc_id}",
        "acc": acc,
    }
    return {key: value for key, value in {**row, **changes}.items() if value is not ...}


def generated(answer, *, right=1.0, texts=None, filter_name="strict-match", doc_id=0, **changes):
    """A line of a task that generates."""
    row = {
        "doc_id": doc_id,
        "doc": {"question": "7 + 4?"},
        "target": "11",
        "arguments": {"gen_args_0": {"arg_0": "7 + 4?", "arg_1": {"until": ["\n"]}}},
        "resps": [texts or [f"The answer is {answer}."]],
        "filtered_resps": [answer],
        "filter": filter_name,
        "metrics": ["exact_match"],
        "doc_hash": f"hash-{doc_id}",
        "exact_match": right,
    }
    return {key: value for key, value in {**row, **changes}.items() if value is not ...}


def write(folder: Path, *rows, name: str = NAME) -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def one(folder: Path, row, **asked) -> Logged:
    [found] = read_samples([write(folder, row)], **asked).logged
    return found


def test_confidence_is_the_share_of_the_chosen_option_and_its_lead(tmp_path):
    # exp(0) : exp(-ln 3) = 3 : 1, so 3/4 and a lead of 1/2
    found = one(tmp_path, options([-1.0, -1.0 - math.log(3)]))
    assert (found.probability, found.disparity, found.logprob) == pytest.approx((0.75, 0.5, -1.0))
    assert (found.id, found.task, found.answer, found.gold, found.correct) == (
        *("arc_easy-0", "arc_easy", "iron", "iron"),
        True,
    )
    assert found.prompt == "Question: Which rusts?\nAnswer:"


def test_older_logs_with_numbers_and_plain_lists_read_the_same(tmp_path):
    old = options(
        [-2.0, -1.0],
        target=1,
        arguments=[["Q", " iron"], ["Q", " wood"]],
        filtered_resps=[[-2.0, False], [-1.0, True]],
        filter=...,
        metrics=...,
    )
    found = read_samples([write(tmp_path, old)])
    assert (found.filter, found.metric, found.kind) == (None, "acc", "options")
    assert (found.logged[0].answer, found.logged[0].gold) == ("wood", "wood")


def test_acc_norm_goes_by_log_likelihood_per_character(tmp_path):
    # -4/2 = -2 and -6/4 = -1.5: by characters the second one, by acc the first; 1 / (1 + exp(-0.5)) = 0.6225
    row = options([-4.0, -6.0], texts=("ab", "abcd"), target="1", acc=0.0, acc_norm=1.0)
    assert one(tmp_path, row).answer == "ab"
    found = one(tmp_path, row, metric="acc_norm")
    assert (found.answer, found.probability, found.correct) == ("abcd", pytest.approx(0.62246, abs=1e-5), True)
    assert found.logprob == -6.0


def test_several_right_options_and_alike_ones(tmp_path):
    assert one(tmp_path, options([-3.0, -1.0, -2.0], texts="abc", target="[0, 1]")).gold == "a"
    # As in Winogrande: contexts differ, continuations do not, and the target is their text.
    alike = one(tmp_path, options([-3.0, -1.0], texts=("is big", "is big"), target="is big", acc=0.0))
    assert (alike.answer, alike.gold, alike.correct) == ("1", "is big", False)


def test_a_target_that_may_be_an_index_or_a_text_is_left_undecided(tmp_path):
    row = options([-1.0, -3.0], texts=("1", "0"), target="0", acc=0.0)
    assert one(tmp_path, row).gold == "0"


def test_a_generated_answer_has_no_confidence_of_its_own(tmp_path):
    found = one(tmp_path, generated("11"))
    assert (found.answer, found.gold, found.correct, found.vote_share) == ("11", "11", True, None)
    assert math.isnan(found.probability) and math.isnan(found.disparity)
    assert one(tmp_path, generated("[invalid]", right=0.0)).answer is None


def test_repeats_vote_for_the_filtered_answer(tmp_path):
    texts = ["The answer is 12.", "The answer is 11.", "So 11.0", "I do not know."]
    found = one(tmp_path, generated("11", texts=texts))
    assert (found.vote_share, found.completion) == (0.5, "The answer is 11.")


def test_flattened_responses_read_the_same(tmp_path):
    found = one(tmp_path, generated("11", resps=["The answer is 11.", "12"], filtered_resps=["11"]))
    assert found.vote_share == 0.5


def test_one_filter_is_chosen_among_several(tmp_path):
    file = write(tmp_path, generated("11"), generated("4", right=0.0, filter_name="flexible-extract"))
    with pytest.raises(SettingsError, match="has the filters flexible-extract, strict-match; choose one with --filter"):
        read_samples([file])
    found = read_samples([file], filter_name="flexible-extract")
    assert [(one.answer, one.correct) for one in found.logged] == [("4", False)]
    with pytest.raises(SettingsError, match="has no filter 'strict'; it has flexible-extract, strict-match"):
        read_samples([file], filter_name="strict")


def test_filters_without_a_name_are_refused(tmp_path):
    file = write(tmp_path, generated("11", filter=...), generated("4", filter=...))
    with pytest.raises(DataError, match=r"line 2: document 0 of arc_easy stands already at .*line 1"):
        read_samples([file])


def test_files_of_several_tasks_go_together_if_their_verdicts_do(tmp_path):
    first = write(tmp_path, options([-1.0, -2.0]))
    second = write(tmp_path, options([-1.0, -2.0]), name=NAME.replace("arc_easy", "arc_challenge"))
    assert [one.id for one in read_samples([first, second]).logged] == ["arc_easy-0", "arc_challenge-0"]
    other = write(tmp_path, generated("11"), name="gsm8k.jsonl")
    with pytest.raises(SettingsError, match=r"no verdict in common .*judge them one by one"):
        read_samples([first, other])


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        (options([-1.0, -2.0], doc_id=None), DataError, "line 1: no field `doc_id`"),
        (options([-1.0, -2.0], filtered_resps=...), DataError, "line 1: no field `filtered_resps`"),
        (options([-1.0, -2.0], arguments=...), DataError, "line 1: no field `arguments`"),
        (options([-1.0, -2.0], target=...), DataError, "line 1: no field `target`"),
        (generated("11", resps=...), DataError, "line 1: no field `resps`"),
        (options([-1.0, -2.0], acc=...), SettingsError, "no field `acc`; choose with --metric one of: acc, acc_norm"),
        (options([-1.0, -2.0], acc=0.5), DataError, "line 1: `acc` is 0.5, which is no verdict"),
        (options([-1.0, -2.0], acc=0.0), DataError, r"option 0 is chosen and \[0\] right, yet `acc` is 0"),
        (options([-1.0]), DataError, "1 `filtered_resps` for 2 options"),
        (options(["x", -1.0]), DataError, "line 1: `filtered_resps` holds no log-likelihoods"),
        (options(["nan", -1.0]), DataError, "log-likelihoods that are no numbers"),
        (options([-1.0], texts=("iron",)), DataError, "line 1: a single continuation was scored"),
        (options([-1.0, -2.0], arguments=[["a text"]]), DataError, "a text alone"),
        (options([-1.0, -2.0], acc_mutual_info=1.0), DataError, "logged with acc_mutual_info"),
        (generated("11", filtered_resps=[["11", "12"]]), DataError, "holds no single answer"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, row, error, message):
    with pytest.raises(error, match=message):
        one(tmp_path, row)


def test_a_metric_that_a_line_lacks_is_named_with_the_line(tmp_path):
    file = write(tmp_path, options([-1.0, -2.0]), options([-1.0, -2.0], doc_id=1, acc=...))
    with pytest.raises(DataError, match="line 2: no field `acc`"):
        read_samples([file], metric="acc")


def test_no_file_and_no_samples_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no file .*none\.jsonl"):
        read_samples([tmp_path / "none.jsonl"])
    with pytest.raises(DataError, match="no samples"):
        read_samples([write(tmp_path)])

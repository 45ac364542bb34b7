"""GRPO in two processes, a group spanning both: the same rewards, advantages and monitors as in one."""

import json
import math
import statistics
from collections import Counter
from pathlib import Path

import pytest
import torch
from launching import launch
from transformers import AutoModelForCausalLM

from inward.answers import AnswerSettings
from inward.diagnose import monitors
from inward.equivalence.votes import majority_share
from inward.forward import sequence_signals
from inward.methods.watching import sights
from inward.train.votes import answer_of

ANSWER = AnswerSettings(kind="number")
SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def two(tiny_model, tmp_path_factory):
    """What each of the two processes saw and logged."""
    folder = tmp_path_factory.mktemp("two")
    launch(SCRIPT, tiny_model, folder)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def rows(two, step=0):
    return [row for process in two for row in process["steps"][step]["rows"]]


def test_a_group_spans_both_processes(two):
    halves = [[row[0] for row in process["steps"][0]["rows"]] for process in two]
    assert [len(half) for half in halves] == [6, 6]
    assert len(set(halves[0]) & set(halves[1])) == 1


def test_rewards_are_those_of_one_process(two, tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    signals = sequence_signals(model, [(prompt, ids) for _, prompt, ids, _, _ in rows(two)], 0)
    alone = signals.self_certainty.sum(1) / signals.mask.sum(1)
    assert [row[4] for row in rows(two)] == pytest.approx(alone.tolist(), abs=1e-5)


def test_monitors_are_those_of_all_traces_together(two, tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    keys, prompts, ids, texts, rewards = zip(*rows(two), strict=True)
    signals = sequence_signals(model, list(zip(prompts, ids, strict=True)), 0)
    answers = [answer_of(text, ANSWER) for text in texts]
    alone = monitors(
        sights(keys, ids, texts, signals, [one[-1] != 2 for one in ids], answers, rewards=rewards, kl=[0.0] * 12)
    )
    gathered = [process["steps"][0]["monitors"] for process in two]
    assert gathered[0] == gathered[1]
    assert {key: gathered[0][key] for key in alone} == pytest.approx(alone, abs=1e-5, nan_ok=True)
    assert two[0]["steps"][1]["monitors"]["kl"] > 0


def test_the_update_is_grpo_on_all_traces_with_the_statistics_of_whole_groups(two, tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    groups: dict[str, list] = {}
    for key, prompt, ids, _, reward in rows(two):
        groups.setdefault(key, []).append((prompt, ids, reward))
    assert [len(group) for group in groups.values()] == [4, 4, 4]
    loss = torch.zeros(())
    for group in groups.values():
        rewards = torch.tensor([reward for *_, reward in group])
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        for (prompt, ids, _), advantage in zip(group, advantages, strict=True):
            tokens = torch.tensor([[*prompt, *ids]])
            log_p = model(tokens).logits[0, :-1].log_softmax(-1).gather(1, tokens[0, 1:, None])[len(prompt) - 1 :]
            loss = loss - advantage * log_p.mean() / 12
    loss.backward()
    norm = math.sqrt(sum(float(p.grad.pow(2).sum()) for p in model.parameters()))
    assert two[0]["logs"][0]["grad_norm"] == pytest.approx(norm, rel=1e-5)


def test_a_vote_counts_the_traces_of_both_processes(two):
    """Worked out again from all rows; on its own half of the group that spans both a process would say otherwise."""

    def votes(rows):
        groups: dict[str, Counter] = {}
        for key, answer in rows:
            groups.setdefault(key, Counter())[answer] += 1
        return [majority_share(groups[key], answer) if answer else 0.0 for key, answer in rows]

    given = [[(row[0], answer_of(row[3], ANSWER)) for row in process["steps"][0]["rows"]] for process in two]
    voted = [process["steps"][0]["votes"] for process in two]
    assert voted[0] + voted[1] == votes(given[0] + given[1])
    assert voted[0] + voted[1] != votes(given[0]) + votes(given[1])


def test_a_combination_is_normalised_over_the_traces_of_both_processes(two):
    """Certainty plus half of the vote, each minus its group's mean, over its group's standard deviation (n - 1)."""
    columns = [[row[4] for row in rows(two)], [vote for process in two for vote in process["steps"][0]["votes"]]]
    keys = [row[0] for row in rows(two)]
    expected = [0.0] * len(keys)
    for factor, column in zip((1.0, 0.5), columns, strict=True):
        for key in set(keys):
            places = [place for place, one in enumerate(keys) if one == key]
            group = [column[place] for place in places]
            spread = statistics.stdev(group)
            for place in places:
                expected[place] += factor * (column[place] - statistics.fmean(group)) / spread if spread else 0.0
    combined = [one for process in two for one in process["steps"][0]["combined"]]
    assert combined == pytest.approx(expected, abs=1e-4)


def test_one_process_alone_keeps_the_checkpoints(two):
    assert [process["told"] for process in two] == [[1, 2], []]

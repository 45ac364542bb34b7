"""What a server's traces are: those of the model here, with the signals that top log-probabilities give."""

import dataclasses
import math
import random
import time

import pytest
from completions_server import serve

from inward import answers, models, organism
from inward.answers import AnswerSettings
from inward.errors import DataError, NoPairsError, ServerError, SettingsError
from inward.methods import rlsf
from inward.methods.rounds import Round
from inward.methods.start import Start
from inward.models import ModelSettings
from inward.rank import PairSettings
from inward.runs import RunFolder
from inward.sample import SamplingSettings, ServerSettings, probe, sample, serving
from inward.tasks import arithmetic
from inward.types import Artifact, FinishReason, Manifest, Source

CPU = ModelSettings(device="cpu")
NEVER = AnswerSettings(kind="number", elicit="never")
BRANCHES = SamplingSettings(strategy="branch", num_branches=4, max_completion_tokens=20)


@pytest.fixture(scope="module")
def policy():
    return models.load(organism.path("chat"), CPU, name="embedded:chat")


@pytest.fixture
def served():
    with serve(organism.path("chat")) as running:
        yield running


@pytest.fixture(scope="module")
def prompts():
    return [problem.prompt for problem in arithmetic.problems(4, seed=0)]


def settings(*servers, **others):
    return ServerSettings(endpoints=tuple(one.url for one in servers), **{"backoff_seconds": 0.01, **others})


def ask(policy, prompts, server, sampling, kept, answer=NEVER):
    with serving(policy, server, kept) as make:
        return make(prompts, sampling.params(policy, 0), answer)


def without_signals(groups):
    return [[dataclasses.replace(trace, signals=None) for trace in group.traces] for group in groups]


def signals(groups, name):
    return [value for group in groups for trace in group.traces for value in getattr(trace.signals, name)]


@pytest.mark.parametrize("texts", [False, True], ids=["vLLM", "SGLang"])
@pytest.mark.parametrize("strategy", ["branch", "greedy"])
def test_branches_and_greedy_traces_are_those_of_the_model_here(policy, prompts, served, tmp_path, strategy, texts):
    served.texts = texts
    sampling = dataclasses.replace(BRANCHES, strategy=strategy)
    here = list(sample(prompts, policy, sampling.params(policy, 0)))
    made = ask(policy, prompts, settings(served), sampling, tmp_path / "kept")

    assert without_signals(made) == without_signals(here)
    assert [group.prompt for group in made] == prompts
    assert signals(made, "disparity") == pytest.approx(signals(here, "disparity"), abs=1e-4)
    assert signals(made, "logprob") == pytest.approx(signals(here, "logprob"), abs=1e-4)
    assert all(map(math.isnan, signals(made, "entropy")))
    # One request for the first tokens of a prompt, and one for what follows each of the four.
    assert len(served.requests) == {"branch": 4 * (1 + 4), "greedy": 4}[strategy]
    assert not (tmp_path / "kept").exists()


def test_a_branch_of_one_token_needs_no_second_request(policy, prompts, served, tmp_path):
    sampling = dataclasses.replace(BRANCHES, max_completion_tokens=1)
    here = list(sample(prompts, policy, sampling.params(policy, 0)))
    made = ask(policy, prompts, settings(served), sampling, tmp_path / "kept")

    assert without_signals(made) == without_signals(here)
    assert signals(made, "disparity") == pytest.approx(signals(here, "disparity"), abs=1e-4)
    assert len(served.requests) == 4


def test_every_end_is_known_for_what_it_is(policy, prompts, served, tmp_path):
    made = ask(policy, prompts, settings(served), BRANCHES, tmp_path / "kept")
    traces = [trace for group in made for trace in group.traces]

    assert {trace.finish_reason for trace in traces} == {FinishReason.STOP, FinishReason.LENGTH}
    for trace in traces:
        ended = trace.completion_ids[-1] in policy.eos_ids
        assert ended == (trace.finish_reason is FinishReason.STOP)
        assert ended or len(trace.completion_ids) == 20


def test_samples_are_drawn_from_seeds_of_run_prompt_and_index(policy, prompts, served, tmp_path):
    sampling = SamplingSettings(strategy="sample", group_size=3, temperature=0.7, max_completion_tokens=8)
    whole = ask(policy, prompts, settings(served), sampling, tmp_path / "a")
    seeds = [request["seed"] for request in served.requests]
    alone = ask(policy, prompts[2:3], settings(served), sampling, tmp_path / "b")

    assert alone == whole[2:3]
    assert len(set(seeds)) == len(seeds) == 12
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert {(request["temperature"], request["top_p"]) for request in served.requests} == {(0.7, 1.0)}
    assert [trace.source for trace in whole[0].traces] == [Source.SAMPLE] * 3
    assert [trace.index for trace in whole[0].traces] == [0, 1, 2]
    # A drawn token need not be the most probable: then its disparity is below 0.
    assert min(signals(whole, "disparity")) < 0 < max(signals(whole, "disparity"))


def test_a_request_says_all_that_a_generation_config_could_change(policy, prompts, served, tmp_path):
    ask(policy, prompts[:1], settings(served), BRANCHES, tmp_path / "kept")

    for request in served.requests:
        neutral = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "top_p": 1.0, "temperature": 0.0}
        assert neutral.items() <= request.items()
        assert request["stop_token_ids"] == list(policy.eos_ids)
        assert all(type(token) is int for token in request["prompt"])
    assert [request["max_tokens"] for request in served.requests] == [1, 19, 19, 19, 19]
    assert served.requests[0]["logprobs"] == 4 + len(policy.eos_ids)


def test_the_order_of_arrival_changes_nothing(policy, prompts, served, tmp_path):
    in_turn = ask(policy, prompts, settings(served, concurrency=1), BRANCHES, tmp_path / "a")
    delays = random.Random(0)
    with serve(organism.path("chat")) as other:
        served.fault = other.fault = lambda number, request: time.sleep(delays.random() / 50)
        at_once = ask(policy, prompts, settings(served, other, concurrency=4), BRANCHES, tmp_path / "b")

    assert at_once == in_turn
    assert other.requests and len(served.requests) > 20
    assert served.most_at_once <= 4 and other.most_at_once <= 4 < served.most_at_once + other.most_at_once


def test_the_model_is_asked_for_its_answer_as_it_is_here(policy, prompts, served, tmp_path, monkeypatch):
    """The embedded tokenizer cannot write RLSF's question, so that a word it knows stands in."""
    monkeypatch.setattr(answers, "probe_prompt", lambda kind, labels: "step")
    asked = AnswerSettings(kind="number", strict=True, elicit="missing")
    sampling = dataclasses.replace(BRANCHES, max_completion_tokens=12)
    here = list(probe(sample(prompts, policy, sampling.params(policy, 0)), policy, asked))
    made = ask(policy, prompts, settings(served), sampling, tmp_path / "kept", asked)

    assert without_signals(made) == without_signals(here)
    probed = [trace.answer_probe is not None for group in made for trace in group.traces]
    assert any(probed) and not all(probed)
    assert len(served.requests) == 4 * (1 + 4) + sum(probed)


def test_another_model_than_the_one_here_is_noticed(policy, prompts, tiny_model, tmp_path):
    with serve(tiny_model) as other, pytest.warns(UserWarning, match="do they serve the same weights"):
        ask(policy, prompts[:2], settings(other), BRANCHES, tmp_path / "kept")


def folder_of(path):
    manifest = Manifest(
        inward="0",
        method="rlsf",
        settings={},
        recipe="defaults",
        seed=0,
        start=Artifact(name="m", sha256="0"),
        data=None,
        evaluation=None,
        labels_used=False,
        versions={},
        hardware={},
        created="2026-01-01T00:00:00+00:00",
    )
    return RunFolder.open(path, manifest)


def stages(path, policy, prompts, **others):
    """Scored groups and pairs."""
    chosen = rlsf.Settings(
        model=CPU, sampling=BRANCHES, answer=NEVER, pairs=PairSettings(gamma=None, min_gap=0.001), **others
    )
    start = Start("embedded:chat", policy.path, CPU)
    start.__dict__["policy"] = policy
    with folder_of(path) as folder:
        here = Round(folder=folder, number=1, seed=0)
        traces = rlsf.sample_stage(prompts, start, here, chosen)
        scored = rlsf.score_stage(traces, start, here, chosen)
        return list(scored), list(rlsf.rank_stage(scored, here, chosen))


def test_the_pairs_are_those_of_the_model_here(policy, prompts, served, tmp_path):
    scored_here, here = stages(tmp_path / "here", policy, prompts)
    scored, made = stages(tmp_path / "served", policy, prompts, engine="server", server=settings(served))

    assert [dataclasses.replace(pair, gap=0.0) for pair in made] == [
        dataclasses.replace(pair, gap=0.0) for pair in here
    ]
    assert len(made) > 4
    assert [pair.gap for pair in made] == pytest.approx([pair.gap for pair in here], abs=1e-4)
    known = {"answer_disparity", "answer_probability", "mean_logprob"}
    for own, other in zip(scored, scored_here, strict=True):
        for trace, expected in zip(own.traces, other.traces, strict=True):
            assert set(trace.measures) == known
            assert trace.measures == pytest.approx({name: expected.measures[name] for name in known}, abs=1e-4)


@pytest.mark.parametrize("confidence", ["neg_entropy", "self_certainty"])
def test_with_rescore_every_measure_is_that_of_the_model_here(policy, prompts, served, tmp_path, confidence):
    scored_here, here = stages(tmp_path / "here", policy, prompts, confidence=confidence)
    server = settings(served, rescore=True)
    scored, made = stages(tmp_path / "served", policy, prompts, engine="server", server=server, confidence=confidence)

    assert [(pair.chosen, pair.rejected) for pair in made] == [(pair.chosen, pair.rejected) for pair in here]
    for own, other in zip(scored, scored_here, strict=True):
        for trace, expected in zip(own.traces, other.traces, strict=True):
            assert trace.measures == pytest.approx(expected.measures, abs=1e-4)
    assert {request["logprobs"] for request in served.requests[4:]} == {1}


@pytest.mark.parametrize("confidence", ["neg_entropy", "self_certainty", "option_disparity", "option_probability"])
def test_a_measure_of_the_full_distribution_is_refused_with_the_reason(served, confidence):
    with pytest.raises(SettingsError, match=rf"{confidence} needs the probability of every token.*server.rescore=true"):
        rlsf.Settings(engine="server", server=settings(served), confidence=confidence)
    assert not served.requests


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"engine": "server"}, "no endpoint"),
        ({"server": ServerSettings(endpoints=("http://a/v1",))}, "does nothing with engine=local"),
        (
            {"engine": "server", "server": ServerSettings(endpoints=("http://a/v1",)), "rounds": 2},
            "the endpoints serve the start model",
        ),
        (
            {"engine": "server", "server": ServerSettings(endpoints=("http://a/v1",)), "baseline": "greedy"},
            "does nothing with baseline=greedy",
        ),
    ],
)
def test_settings_that_do_not_go_with_the_engine_are_refused(given, message):
    with pytest.raises(SettingsError, match=message):
        rlsf.Settings(**given)


def test_what_came_before_all_endpoints_failed_is_not_asked_for_again(policy, prompts, served, tmp_path):
    """One of 20 requests fails for good; the same call asks for what is missing, and for nothing else."""
    whole = ask(policy, prompts, settings(served), BRANCHES, tmp_path / "whole")
    served.requests.clear()
    served.answered.clear()
    served.fault = lambda number, request: "500" if number >= 12 else None
    with pytest.raises(ServerError, match="What was sampled is kept"):
        ask(policy, prompts, settings(served, concurrency=1, retries=1), BRANCHES, tmp_path / "kept")
    assert len(served.answered) == 12 == len((tmp_path / "kept").read_text().splitlines())

    with (tmp_path / "kept").open("a") as file:
        file.write('{"key": "torn by a ki')
    served.fault = lambda number, request: None
    assert ask(policy, prompts, settings(served), BRANCHES, tmp_path / "kept") == whole
    assert len(served.answered) == 20
    assert not (tmp_path / "kept").exists()


def test_replies_of_prompts_that_are_on_disk_are_let_go(policy, prompts, served, tmp_path):
    kept = tmp_path / "kept"
    with serving(policy, settings(served), kept) as make:
        params = BRANCHES.params(policy, 0)
        make(prompts[:3], params, NEVER)
        assert len(kept.read_text().splitlines()) == 3 * 5
        make(prompts[3:4], params, NEVER)
        assert len(kept.read_text().splitlines()) == 5


def test_a_prompt_as_long_as_the_context_is_refused_before_any_request(policy, prompts, served, tmp_path):
    narrow = dataclasses.replace(policy, context=4)
    with pytest.raises(DataError, match="whole context"):
        ask(narrow, prompts, settings(served), BRANCHES, tmp_path / "kept")
    assert not served.requests


def test_nothing_to_rank_is_an_error_as_it_is_here(policy, prompts, served, tmp_path):
    sampling = SamplingSettings(strategy="greedy", max_completion_tokens=8)
    chosen = rlsf.Settings(engine="server", server=settings(served), model=CPU, sampling=sampling, answer=NEVER)
    start = Start("embedded:chat", policy.path, CPU)
    with folder_of(tmp_path / "out") as folder:
        here = Round(folder=folder, number=1, seed=0)
        scored = rlsf.score_stage(rlsf.sample_stage(prompts, start, here, chosen), start, here, chosen)
        with pytest.raises(NoPairsError):
            rlsf.rank_stage(scored, here, chosen)

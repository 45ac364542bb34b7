"""What becomes of requests that go wrong, on a real server that goes wrong as it is told."""

import socket
import threading
import time
from pathlib import Path

import pytest
from completions_server import SPOILS, serve

from inward.errors import InwardError, ServerError, SettingsError
from inward.models import ModelSettings, load
from inward.sample import ServerSettings
from inward.sample.completions import Request, Vocabulary, body_of, read_reply
from inward.sample.endpoint import Endpoints

PROMPT = (1, 4, 13, 5)
REQUEST = Request(prompt_ids=PROMPT, max_tokens=6, top=2)


@pytest.fixture(scope="module")
def vocabulary(tiny_model):
    policy = load(tiny_model, ModelSettings(device="cpu"))
    return Vocabulary(policy.tokenizer, policy.model.config.vocab_size, policy.eos_ids)


@pytest.fixture
def served(tiny_model):
    with serve(tiny_model) as running:
        yield running


def settings(*servers, **others):
    quick = {"backoff_seconds": 0.01, "timeout_seconds": 5.0, "retries": 3}
    return ServerSettings(
        endpoints=tuple(one if isinstance(one, str) else one.url for one in servers), **quick | others
    )


def post(endpoints, vocabulary, request=REQUEST):
    return endpoints.post(
        body_of(request, vocabulary.eos_ids), lambda payload: read_reply(payload, request, vocabulary)
    )


def once(fault, at=0):
    """The fault at one request, and at no other."""
    return lambda number, request: fault if number == at else None


@pytest.mark.parametrize("fault", ["500", "502", "503", "429", "408", "cut", "refuse", "slow", "drip"])
def test_a_fault_that_passes_is_tried_again(served, vocabulary, fault):
    """A time-out of 0.3 s; the slow reply begins after 0.5 s, and the other one comes a byte every 0.05 s."""
    expected = post(Endpoints(settings(served)), vocabulary)
    served.requests.clear()
    served.fault, served.seconds = once(fault), 0.5 if fault == "slow" else 0.05
    limit = 0.3 if fault in ("slow", "drip") else 5.0
    start = time.monotonic()

    assert post(Endpoints(settings(served, timeout_seconds=limit)), vocabulary) == expected
    assert len(served.requests) == 2 and served.requests[0] == served.requests[1]
    assert time.monotonic() - start < 10


def test_a_fault_that_stays_ends_after_the_retries(served, vocabulary):
    served.fault = lambda number, request: "503"
    with pytest.raises(
        ServerError, match=r"failed 4 times \(server.retries=3\).*HTTP 503: as the test wants.*same command"
    ):
        post(Endpoints(settings(served)), vocabulary)
    assert len(served.requests) == 4


def test_the_pauses_double(served, vocabulary):
    """Of 0.2, 0.4 and 0.8 s at most, and at least half of each: 0.7 to 1.4 s in all."""
    served.fault = lambda number, request: "500" if number < 3 else None
    start = time.monotonic()
    post(Endpoints(settings(served, backoff_seconds=0.2)), vocabulary)

    assert time.monotonic() - start >= 0.7


def test_retry_after_is_waited_for(served, vocabulary):
    served.fault, served.retry_after = once("429"), "0.6"
    start = time.monotonic()
    post(Endpoints(settings(served)), vocabulary)

    assert time.monotonic() - start >= 0.6


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("400", "--max-logprobs"),
        ("401", "server.api_key_env"),
        ("403", "server.api_key_env"),
        ("404", "/v1"),
        ("307", "redirects"),
    ],
)
def test_a_refusal_ends_at_once_and_says_what_to_do(served, vocabulary, status, advice):
    served.fault = lambda number, request: status
    with pytest.raises(ServerError, match=rf"HTTP {status}: as the test wants; .*{advice}") as caught:
        post(Endpoints(settings(served)), vocabulary)
    assert len(served.requests) == 1
    assert isinstance(caught.value, InwardError | ConnectionError)


NAMED = {
    "choices": "choices",
    "choices.0.finish_reason": "finish_reason is None",
    "choices.0.logprobs": "choices[0].logprobs is missing",
    "choices.0.logprobs.tokens": "logprobs.tokens is missing",
    "choices.0.logprobs.token_logprobs": "logprobs.token_logprobs is missing",
    "choices.0.logprobs.top_logprobs": "logprobs.top_logprobs is missing",
    "html": "no JSON",
    "deep": "no JSON",
    "text tokens": "return_tokens_as_token_ids",
    "one token less": "5, 6 and 6 entries",
    "beyond the vocabulary": "has the id 99999",
    "another id": "choices[0].token_ids are not those",
    "positive": "token_logprobs has 0.5",
    "aborted": "finish_reason is 'abort'",
    "other prompt": "prompt_token_ids are not those that were sent",
    "prompt counted otherwise": "usage.prompt_tokens is 5, and 4 were sent",
    "one top": "top_logprobs has 1 tokens where 2 were asked for",
    "stopped elsewhere": "finish_reason is stop (stop_reason '\\n')",
}


@pytest.mark.parametrize("what", NAMED)
def test_a_reply_of_another_schema_ends_at_once_and_the_field_is_named(served, vocabulary, what):
    assert {*SPOILS, "html"} <= {*NAMED}
    served.fault = lambda number, request: f"schema:{what}"
    with pytest.raises(ServerError) as caught:
        post(Endpoints(settings(served)), vocabulary)
    assert NAMED[what] in str(caught.value) and served.url in str(caught.value)
    assert len(served.requests) == 1


def test_a_reply_of_another_schema_is_tried_again_where_there_was_a_good_one(served, vocabulary):
    endpoints = Endpoints(settings(served))
    first = post(endpoints, vocabulary)
    served.fault = once("schema:one token less", at=1)

    assert post(endpoints, vocabulary) == first
    assert len(served.requests) == 3


def test_fewer_tokens_than_asked_for_without_an_end_are_refused(served, vocabulary):
    """The server answers another request, of two tokens less: as one does whose context is full."""
    endpoints = Endpoints(settings(served))
    shorter = body_of(Request(prompt_ids=PROMPT, max_tokens=4, top=2), vocabulary.eos_ids)
    with pytest.raises(ServerError, match=r"length after 4 of 6 tokens.*--max-model-len"):
        endpoints.post(shorter, lambda payload: read_reply(payload, REQUEST, vocabulary))


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"http://127.0.0.1:{found.getsockname()[1]}/v1"


def together(threads):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_an_endpoint_that_keeps_failing_is_set_aside_while_others_serve(served, vocabulary):
    dead = closed_port()
    endpoints, replies = Endpoints(settings(dead, served, concurrency=1)), []
    served.delay = 0.02
    threads = [threading.Thread(target=lambda: replies.append(post(endpoints, vocabulary))) for _ in range(12)]
    with pytest.warns(UserWarning, match=f"{dead} keeps failing .*others serve"):
        together(threads)

    assert len(served.requests) == len(replies) == 12


def test_where_all_endpoints_fail_each_is_named_with_its_reason(served, vocabulary):
    dead = closed_port()
    served.fault = lambda number, request: "500"
    with pytest.raises(ServerError) as caught:
        post(Endpoints(settings(dead, served)), vocabulary)

    assert f"{dead}: no connection" in str(caught.value)
    assert f"{served.url}: HTTP 500" in str(caught.value)


def test_all_endpoints_are_used(served, vocabulary, tiny_model):
    with serve(tiny_model) as other:
        served.delay = other.delay = 0.05
        endpoints = Endpoints(settings(served, other, concurrency=2))
        together([threading.Thread(target=post, args=(endpoints, vocabulary)) for _ in range(12)])
        assert served.most_at_once == other.most_at_once == 2
        assert len(served.requests) + len(other.requests) == 12


def test_closing_cuts_what_is_under_way(served, vocabulary):
    served.fault, served.seconds = (lambda number, request: "slow"), 30
    endpoints = Endpoints(settings(served))
    threading.Timer(0.3, endpoints.close).start()
    start = time.monotonic()
    with pytest.raises(ServerError, match="stopped"):
        post(endpoints, vocabulary)
    assert time.monotonic() - start < 10


def test_the_only_model_of_an_endpoint_is_meant(served, vocabulary):
    served.names = ["one-of-a-kind"]
    post(Endpoints(settings(served)), vocabulary)
    assert served.requests[0]["model"] == "one-of-a-kind"

    served.names = ["base", "adapter"]
    with pytest.raises(ServerError, match=r"lists base, adapter; name .* in server.model"):
        post(Endpoints(settings(served)), vocabulary)
    post(Endpoints(settings(served, model="base")), vocabulary)
    assert served.requests[1]["model"] == "base"


def test_the_key_comes_from_the_environment_and_is_never_shown(served, vocabulary, monkeypatch):
    served.key = "sk-very-secret"
    monkeypatch.setenv("TEST_KEY", "sk-very-secret")
    post(Endpoints(settings(served, api_key_env="TEST_KEY")), vocabulary)

    monkeypatch.setenv("TEST_KEY", "sk-another-secret")
    with pytest.raises(ServerError, match=r"401: bad key Bearer \*\*\*") as caught:
        post(Endpoints(settings(served, api_key_env="TEST_KEY")), vocabulary)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", [None, "", " ", "a key", "line\nbreak"])
def test_a_key_that_is_not_there_or_cannot_be_sent_is_refused(monkeypatch, value):
    monkeypatch.delenv("TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("TEST_KEY", value)
    with pytest.raises(SettingsError, match="TEST_KEY") as caught:
        Endpoints(settings("http://127.0.0.1:1/v1", api_key_env="TEST_KEY"))
    assert not (value or "").strip() or value not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"endpoints": ("http://user:pass@host/v1",)}, "host carries a user"),
        ({"endpoints": ("https://host/v1?api_key=pass",)}, "host carries a user, a key"),
        ({"endpoints": ("host:8000/v1",)}, "no address of a server"),
        ({"endpoints": ("ftp://host/v1",)}, "no address of a server"),
        ({"endpoints": ("http://host:99999/v1",)}, "no URL"),
        ({"endpoints": ("http://a/v1", "http://a/v1")}, "given twice"),
        ({"api_key_env": "sk-pass"}, "name of an environment variable"),
        ({"concurrency": 0}, "at least 1"),
        ({"retries": -1}, "at least 0"),
        ({"timeout_seconds": 0.0}, "above 0"),
    ],
)
def test_settings_out_of_range_are_refused_and_no_secret_is_repeated(given, message):
    with pytest.raises(SettingsError, match=message) as caught:
        ServerSettings(**given)
    assert "pass" not in str(caught.value)


def test_the_server_of_the_tests_uses_nothing_of_what_it_tests():
    source = (Path(__file__).parents[1] / "completions_server.py").read_text(encoding="utf-8")
    assert "from inward.sample" not in source and "import sample" not in source

"""One completion request and its reply, in the schema of vLLM's `/v1/completions`.

Prompts go out as token ids, and completions come back as such: `tokens` hold `token_id:ID` (vLLM, asked for by
`return_tokens_as_token_ids`), or `token_ids` stand beside texts (SGLang, `return_token_ids`), where the other tokens of
`top_logprobs` are found by the text of a single token. A completion's text is never tokenised again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from inward.sample.endpoint import Unreadable

PREFIX = "token_id:"
SAME = 1e-6
ABOVE_ZERO = 1e-3
"""Log-probabilities in half precision can end a hair above 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt to continue."""

    prompt_ids: tuple[int, ...]
    max_tokens: int
    top: int
    """Log-probabilities of so many tokens at each position."""
    named: bool = False
    """Whether the id of each of them is wanted, too."""
    temperature: float = 0.0
    """0: the most probable token every time."""
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One completion of C tokens."""

    ids: tuple[int, ...]
    """[C] the end-of-sequence token included, where there was one."""
    logprob: tuple[float, ...]
    """[C] nats."""
    tops: tuple[dict[int, float], ...]
    """[C] log-probability of the most probable tokens by id, the one that was taken among them. A negative key stands
    for a token whose id the server did not say."""
    stopped: bool


@dataclass(frozen=True)
class Vocabulary:
    """What the ids of a reply are held against."""

    tokenizer: PreTrainedTokenizerBase
    size: int
    eos_ids: tuple[int, ...]

    @cached_property
    def ids_of(self) -> Mapping[str, int]:
        """Ids by the text of a single token; texts that several tokens share are left out."""
        texts = self.tokenizer.batch_decode([[i] for i in range(self.size)])
        last = {text: i for i, text in enumerate(texts)}
        first = {text: i for i, text in reversed(list(enumerate(texts)))}
        return {text: i for text, i in first.items() if last[text] == i}


def body_of(request: Request, eos_ids: Sequence[int]) -> dict[str, object]:
    """The JSON of a request, but for the model's name.

    A server fills in what is left out from the model's own generation config: a penalty there would change what is
    sampled. So everything that shapes the distribution is said.
    """
    return {
        "prompt": list(request.prompt_ids),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "n": 1,
        **({} if request.seed is None else {"seed": request.seed}),
        "stop_token_ids": list(eos_ids),
        "ignore_eos": False,
        "skip_special_tokens": False,
        "logprobs": request.top,
        "return_tokens_as_token_ids": True,
        "return_token_ids": True,
        "stream": False,
    }


def read_reply(payload: Any, request: Request, vocabulary: Vocabulary) -> Reply:
    """The completion of a reply, verified.

    Raises:
        Unreadable: A field is missing, or contradicts another or the request; the message names it.
    """
    choice = _only_choice(payload, request)
    reason, logprobs = choice.get("finish_reason"), _of(choice, "logprobs", dict)
    if reason not in ("stop", "length"):
        raise Unreadable(f"choices[0].finish_reason is {reason!r}, where a whole completion has stop or length")
    tokens, values, tops = (
        _of(logprobs, name, list, "logprobs.") for name in ("tokens", "token_logprobs", "top_logprobs")
    )
    if not len(tokens) == len(values) == len(tops):
        raise Unreadable(
            f"choices[0].logprobs: tokens, token_logprobs and top_logprobs have {len(tokens)}, {len(values)} and "
            f"{len(tops)} entries"
        )
    ids = _ids(choice, tokens, vocabulary.size)
    reply = Reply(
        ids=ids,
        logprob=tuple(_logprob(value, "token_logprobs") for value in values),
        tops=tuple(_top(*one, vocabulary) for one in zip(tops, tokens, values, ids, strict=True)),
        stopped=bool(ids) and ids[-1] in vocabulary.eos_ids,
    )
    _check_tops(reply, request, vocabulary.size)
    _check_end(reply, request, vocabulary.eos_ids, choice)
    return reply


def _only_choice(payload: Any, request: Request) -> dict[str, Any]:
    choices = payload.get("choices") if isinstance(payload, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise Unreadable("choices is no list of one completion")
    choice: dict[str, Any] = choices[0]
    echoed = choice.get("prompt_token_ids")
    if echoed is not None and echoed != list(request.prompt_ids):
        raise Unreadable("choices[0].prompt_token_ids are not those that were sent; the server must add none")
    usage = payload.get("usage")
    counted = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    if counted is not None and counted != len(request.prompt_ids):
        raise Unreadable(f"usage.prompt_tokens is {counted}, and {len(request.prompt_ids)} were sent")
    return choice


def _of(table: dict[str, Any], name: str, kind: type, path: str = "") -> Any:
    value = table.get(name)
    if not isinstance(value, kind):
        raise Unreadable(
            f"choices[0].{path}{name} is {'missing' if value is None else type(value).__name__}, where a "
            f"{kind.__name__} is wanted"
        )
    return value


def _ids(choice: dict[str, Any], tokens: list[Any], size: int) -> tuple[int, ...]:
    said = choice.get("token_ids")
    if _as_ids(tokens):
        ids = tuple(int(token.removeprefix(PREFIX)) for token in tokens)
        if said is not None and said != list(ids):
            raise Unreadable("choices[0].token_ids are not those of choices[0].logprobs.tokens")
    elif isinstance(said, list) and len(said) == len(tokens) and all(type(one) is int for one in said):
        ids = tuple(said)
    else:
        shown = next((token for token in tokens if not _as_ids([token])), None)
        raise Unreadable(
            f"choices[0].logprobs.tokens has {shown!r}, no {PREFIX}ID, and choices[0].token_ids does not say the ids "
            "either; the server must know return_tokens_as_token_ids or return_token_ids"
        )
    bad = [one for one in ids if not 0 <= one < size]
    if bad:
        raise Unreadable(f"choices[0].logprobs.tokens has the id {bad[0]}, and the model has {size} tokens")
    return ids


def _as_ids(tokens: Sequence[Any]) -> bool:
    return all(isinstance(one, str) and re.fullmatch(PREFIX + "[0-9]{1,18}", one) for one in tokens)


def _logprob(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value <= ABOVE_ZERO:
        raise Unreadable(f"choices[0].logprobs.{name} has {value!r}, which is no log-probability")
    return min(float(value), 0.0)


def _top(top: Any, token: str, logprob: float, own: int, vocabulary: Vocabulary) -> dict[int, float]:
    if not isinstance(top, dict) or not top:
        raise Unreadable(f"choices[0].logprobs.top_logprobs has {top!r}, where a table of tokens is wanted")
    values = {key: _logprob(value, "top_logprobs") for key, value in top.items()}
    if _as_ids([*top, token]):
        found = {int(key.removeprefix(PREFIX)): value for key, value in values.items()}
    else:
        # Of two tokens written alike the one that was taken has its log-probability.
        taken = [text == token and abs(value - logprob) < SAME for text, value in values.items()]
        ids = [
            own if it else vocabulary.ids_of.get(text, -1 - n)
            for n, (text, it) in enumerate(zip(values, taken, strict=True))
        ]
        found = dict(zip(ids, values.values(), strict=True))
    bad = [one for one in found if one >= vocabulary.size]
    if bad:
        raise Unreadable(f"choices[0].logprobs.top_logprobs has the id {bad[0]}, and the model has {vocabulary.size}")
    return found


def _check_tops(reply: Reply, request: Request, size: int) -> None:
    wanted = min(request.top, size)
    fewest = min(map(len, reply.tops), default=wanted)
    if fewest < wanted:
        raise Unreadable(
            f"choices[0].logprobs.top_logprobs has {fewest} tokens where {wanted} were asked for: the server sends too "
            "few (vLLM: --max-logprobs), or two of them are written alike and it does not know "
            "return_tokens_as_token_ids; server.rescore=true needs no more than one of a token that is not a branch's"
        )
    if request.named and any(token < 0 for top in reply.tops for token in top):
        raise Unreadable(
            "choices[0].logprobs.top_logprobs names a token by a text that several tokens share; branching needs a "
            "server that knows return_tokens_as_token_ids, or fewer sampling.num_branches"
        )


def _check_end(reply: Reply, request: Request, eos_ids: Sequence[int], choice: dict[str, Any]) -> None:
    length = len(reply.ids)
    if not 0 < length <= request.max_tokens:
        raise Unreadable(
            f"choices[0].logprobs.tokens has {length} tokens, and 1 to {request.max_tokens} were asked for"
        )
    if any(one in eos_ids for one in reply.ids[:-1]):
        raise Unreadable("choices[0].logprobs.tokens go on after an end-of-sequence token")
    if not reply.stopped and choice["finish_reason"] == "stop":
        raise Unreadable(
            f"choices[0].finish_reason is stop (stop_reason {choice.get('stop_reason')!r}), and the last token "
            f"{reply.ids[-1]} is none of the model's end-of-sequence tokens {list(eos_ids)}; the server must not "
            "stop at anything else"
        )
    if not reply.stopped and length < request.max_tokens:
        raise Unreadable(
            f"choices[0].finish_reason is length after {length} of {request.max_tokens} tokens; the server's context "
            "(vLLM: --max-model-len) is too short"
        )

r"""How a question is put to the model, by name. Options of a multiple-choice question are part of it by then.

| format | what the model is given | source |
|---|---|---|
| `plain` | the question as it stands | |
| `rlsf` | the same, by the name of the method that asks so | RLSF's code |
| `cot` | the question, an empty line, "Please solve the math problem step by step." | RLSF's baseline |
| `qwen_boxed` | the question after a system message that asks for steps and a `\boxed{}` | Qwen2.5-Math; RLSC |
| `rlif` | the question after a system message that asks for reasoning, then a `\boxed{}` | RLIF |

The last two make conversations, so they need a tokenizer with a chat template.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

from inward.errors import DataError
from inward.types import Message, Prompt

Format = Literal["plain", "rlsf", "cot", "qwen_boxed", "rlif"]

COT = "Please solve the math problem step by step."
QWEN_BOXED = r"Please reason step by step, and put your final answer within \boxed{}."
RLIF = (
    "You are a helpful AI Assistant, designed to provide well-reasoned and detailed responses. You FIRST think about "
    "the reasoning process step by step and then provide the user with the answer. Please enclose your final answer in "
    r"the box: \boxed{Your Answer}."
)


def as_it_stands(prompt: Prompt) -> Prompt:
    """Return the prompt itself."""
    return prompt


def followed_by(prompt: Prompt, text: str) -> Prompt:
    """Put a text below the question: below the last message of a conversation."""
    if prompt.messages is None:
        return dataclasses.replace(prompt, text=f"{prompt.text}\n\n{text}")
    *before, last = prompt.messages
    return dataclasses.replace(prompt, messages=(*before, Message(role=last.role, content=f"{last.content}\n\n{text}")))


def under(prompt: Prompt, system: str) -> Prompt:
    """Put a system message before the question.

    Raises:
        DataError: The prompt is a conversation with a system message of its own.
    """
    asked = prompt.messages or (Message(role="user", content=prompt.text or ""),)
    if any(message.role == "system" for message in asked):
        raise DataError(
            f"prompt {prompt.id} has a system message of its own; use the format plain, or take the message out"
        )
    return dataclasses.replace(prompt, text=None, messages=(Message(role="system", content=system), *asked))


FORMATS: dict[Format, Callable[[Prompt], Prompt]] = {
    "plain": as_it_stands,
    "rlsf": as_it_stands,
    "cot": lambda prompt: followed_by(prompt, COT),
    "qwen_boxed": lambda prompt: under(prompt, QWEN_BOXED),
    "rlif": lambda prompt: under(prompt, RLIF),
}

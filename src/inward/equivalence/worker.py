"""The process that compares expressions with Math-Verify: one JSON request a line in, one JSON reply a line out.

It is started by path and imports nothing of this package. `pool` stops it from outside when it takes too long; the
alarm it sets itself ends it where nobody is left to do so. A request is {"answer", "gold", "seconds"}; the reply is
{"same": true | false | null}, null where the gold answer is unreadable or the size of a number is out of reach.
"""

# sympy and what stands on it carry no types.
# pyright: standard, reportMissingTypeStubs=false

from __future__ import annotations

import json
import math
import os
import signal
import sys
from functools import lru_cache
from typing import Any, TextIO

MEMORY = 1 << 30
"""Bytes of address space; a third of it is never needed."""
GRACE = 2.0
"""Seconds after the limit at which the process ends itself."""
MAX_POWER = 20_000.0
"""Most digits of a number that is worked out."""
MAX_FACTORIAL = 5_000.0
"""Largest number whose factorial is worked out."""
MAX_TERMS = 10_000.0
"""Most terms of a sum or product."""
UNKNOWN = 10.0
"""Size of what is no plain number, such as a root or a logarithm."""
POINTS = ((1361, 977), (7127, 2311))
"""Where expressions are compared; see `value`."""


class OutOfReachError(Exception):
    """A number is too long to be worked out."""


def main() -> None:
    """Answer requests until there are no more."""
    # What libraries print must not mix with the replies.
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    unblock_alarm()
    same("\\frac{1}{2}x", "\\frac{x}{2}")  # the first comparison is slow: it makes tables
    limit_memory()
    send(replies, {"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        alarm(request["seconds"] + GRACE)
        # Short of memory nothing can be trusted any more: the process ends and is replaced.
        try:
            verdict = same(request["answer"], request["gold"])
        except (OutOfReachError, RecursionError):
            verdict = None
        alarm(0)
        send(replies, {"same": verdict})


def send(replies: TextIO, reply: dict[str, Any]) -> None:
    """Write one line."""
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def unblock_alarm() -> None:
    """Let the alarm end the process, whatever the starting process did with it."""
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


def alarm(seconds: float) -> None:
    """End the process in so many seconds; 0 calls it off."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def limit_memory() -> None:
    """Bound the memory and leave no core file, where the system can."""
    try:
        import resource
    except ImportError:
        return
    for kind, size in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        wanted = size if hard == resource.RLIM_INFINITY else min(size, hard)
        try:
            resource.setrlimit(kind, (wanted, wanted))
        except (ValueError, OSError):  # macOS refuses some
            continue


@lru_cache(maxsize=4096)
def read(text: str) -> Any:
    """The expression a text writes; None if it cannot be read."""
    from latex2sympy2_extended import NormalizationConfig, normalize_latex
    from math_verify.parser import parse_latex_cached

    # Units are taken off beforehand: Math-Verify takes the "ab" off "3ab", too.
    config = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    )
    # Without Math-Verify's extraction and fall-backs: reading "9^{" as 9 would be a lie.
    try:
        return parse_latex_cached(normalize_latex(text, config=config))
    except (MemoryError, RecursionError):
        raise
    except Exception:  # plain Exception is what the parser raises
        return None


def same(answer: str, gold: str) -> bool | None:
    """Compare two expressions; an answer that cannot be read is wrong, a gold answer that cannot be read is None."""
    from math_verify.grader import verify
    from sympy import nan, oo, zoo

    expected = read(gold)
    if expected is None or expected in (nan, zoo):
        return None
    given = read(answer)
    if given is None or given in (nan, zoo):
        return False
    if expected in (oo, -oo) or given in (oo, -oo):
        return expected == given
    refuse_towers(expected)
    refuse_towers(given)
    try:
        closed = same_value(expected, given)
        if closed is not None:
            return closed
        return verify(expected, given, timeout_seconds=0, raise_on_error=True, allow_set_relation_comp=True)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # sympy raises of every kind where it cannot go on
        return None


def refuse_towers(expression: Any) -> None:
    """Refuse numbers with too many digits, and sums of too many terms, before anything works them out."""
    from sympy import Basic, Integer, Pow, Product, Sum, binomial, exp, factorial, gamma, preorder_traversal

    for part in preorder_traversal(expression) if isinstance(expression, Basic) else ():
        reach = 0.0
        if isinstance(part, Pow) and part.base.is_number and part.exp.is_number:
            base = magnitude(part.base)
            reach = magnitude(part.exp) * (abs(math.log10(base)) if 0 < base < math.inf else 1) / MAX_POWER
        elif isinstance(part, exp) and part.args[0].is_number:
            reach = magnitude(part.args[0]) / MAX_POWER
        elif isinstance(part, factorial | binomial | gamma) and part.args[0].is_number:
            reach = magnitude(part.args[0]) / MAX_FACTORIAL
        elif isinstance(part, Sum | Product):
            lasts = [limit[-1] for limit in part.limits if limit[-1].is_finite is not False]
            reach = max(map(magnitude, lasts), default=0.0) / MAX_TERMS
        elif isinstance(part, Integer):
            reach = part.p.bit_length() / (4 * MAX_POWER)
        if reach > 1:
            raise OutOfReachError


def magnitude(expression: Any) -> float:
    """Roughly the absolute value of a closed expression, no more than it takes; infinite where it is out of reach."""
    from sympy import Add, Mul, Pow, exp, factorial

    try:
        if isinstance(expression, Pow):
            return magnitude(expression.base) ** magnitude(expression.exp)
        if isinstance(expression, exp):
            return math.exp(magnitude(expression.args[0]))
        if isinstance(expression, factorial):
            return math.gamma(magnitude(expression.args[0]) + 1)
        if isinstance(expression, Mul):
            return math.prod(map(magnitude, expression.args))
        if isinstance(expression, Add):
            return sum(map(magnitude, expression.args))
        return abs(float(expression)) if expression.is_Number else UNKNOWN
    except (OverflowError, ZeroDivisionError):
        return math.inf


def same_value(expected: Any, given: Any) -> bool | None:
    """Compare two expressions by their values where every symbol is positive: where those differ, they differ.

    Two closed expressions with a decimal among them are the same if the values are near. All else is None: agreement
    at a few points proves nothing.
    """
    from sympy import Expr, Float, Symbol
    from sympy.core.function import AppliedUndef

    if not isinstance(expected, Expr) or not isinstance(given, Expr):
        return None
    # Values of unknown functions, such as u(t), are unknowns.
    expected, given = (
        one.xreplace({call: Symbol(str(call)) for call in one.atoms(AppliedUndef)}) for one in (expected, given)
    )
    # By name: Math-Verify gives symbols beside an "i" other assumptions.
    symbols = expected.free_symbols | given.free_symbols
    names = sorted({str(symbol) for symbol in symbols})
    rounded = expected.has(Float) or given.has(Float)
    for numbers in POINTS if symbols else POINTS[:1]:
        point = {symbol: value(names.index(str(symbol)), *numbers) for symbol in symbols}
        a, b = value_at(expected, point), value_at(given, point)
        near = None if a is None or b is None else close(a, b, rounded=rounded)
        if not near:
            return near
    return True if rounded and not symbols else None


def close(a: Any, b: Any, *, rounded: bool) -> bool | None:
    """Compare two values to nine digits, or as decimals to six; None too near zero to tell."""
    size, gap = max(abs(a), abs(b)), abs(a - b)
    if not rounded:
        return None if size < 1e-9 else bool(gap <= size * 1e-9)
    magnitude = 0 if size >= 1 or not size else math.floor(math.log10(size)) + 1
    return bool(gap <= 5e-7 * 10.0**magnitude)


def value(index: int, start: int, step: int) -> Any:
    """A positive number for a symbol that no formula holds for by chance."""
    from sympy import Rational

    return Rational(start + step * index, 1009)


def value_at(expression: Any, point: dict[Any, Any]) -> Any:
    """The value of an expression at a point, a number of any size; None where it has none."""
    from mpmath import isfinite, mpc, mpmathify

    found = expression.evalf(15, subs=point)
    if not (found.is_Number or (found.is_number and all(part.is_Number for part in found.as_real_imag()))):
        return None
    real, imaginary = (mpmathify(part) for part in found.as_real_imag())
    return mpc(real, imaginary) if isfinite(real) and isfinite(imaginary) else None


if __name__ == "__main__":
    main()

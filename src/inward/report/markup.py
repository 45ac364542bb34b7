"""Text from data made inert, and numbers put into words."""

from __future__ import annotations

import html
import math
import re

NOTHING = "–"
"""What stands in a cell whose number is not defined."""

# Control characters could break the file, bidi and invisible ones could show a reader other text than the model
# wrote, lone surrogates cannot be encoded. Joiners (U+200C, U+200D) stay: scripts need them.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ufffe\uffff\U000e0000-\U000e007f]"
)


def esc(text: object) -> str:
    """Escape for element content or a quoted attribute; unsafe characters appear as their code points."""
    return html.escape(visible(str(text)), quote=True)


def visible(text: str) -> str:
    """Write characters that a reader would not see, or that would move others, as their code points."""
    return _UNSAFE.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def clip(text: str, limit: int) -> str:
    """Cut `text` to `limit` characters, with an ellipsis where something was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def decimal(value: float, places: int = 3, *, signed: bool = False) -> str:
    """Write `value` with a true minus sign; a dash where it is not defined."""
    if not math.isfinite(value):
        return NOTHING
    shown = f"{value:{'+' if signed else ''},.{places}f}"
    if float(shown.replace(",", "")) == 0:
        shown = shown.lstrip("+-")
    return shown.replace("-", "−")


def significant(value: float, *, signed: bool = False) -> str:
    """Write `value` with three places, or as `7.5e−14` where these would all be zeros and it is not."""
    if not math.isfinite(value) or value == 0 or abs(value) >= 0.001:
        return decimal(value, signed=signed)
    return f"{value:{'+' if signed else ''}.1e}".replace("-", "−")


def percent(value: float, places: int = 1) -> str:
    """Write a share as a percentage: 0.178 gives `17.8%`."""
    return f"{decimal(100 * value, places)}%" if math.isfinite(value) else NOTHING


def counted(number: int, one: str, many: str | None = None) -> str:
    """Write `1 pair`, `2,048 pairs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Write `0.4 s`, `42 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

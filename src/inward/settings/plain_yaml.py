"""Text of YAML to the plain values that settings are made of."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

MOST_VALUES, MOST_LEVELS = 100_000, 50
"""What a text may hold, and how many one in the other; far above what any setting needs."""
MOST_SHOWN = 400
"""Characters of a value, or of what is wrong with it, in a message."""


def parse_yaml(text: str) -> Any:
    """The value that a text of YAML stands for.

    Raises:
        ValueError: It stands for none, or for one that is too large; the message says where.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(shortened(str(error))) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except Exception as error:  # what PyYAML's `int`, `float` and `bool` raise on `0x_`, `!!float x` and `!!bool x`
        raise ValueError(f"a value is not of its kind ({type(error).__name__}: {shortened(str(error))})") from error


def shortened(text: str) -> str:
    """A text, or its beginning where it is longer than anybody reads in a message."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


class _Loader(yaml.SafeLoader):
    """YAML 1.1 of plain values, but `1e-4` and `1.5e3` are numbers, not text for want of a point or a sign.

    Names and dates are text. No few bytes make a value that takes long to write down, as aliases of aliases do.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.sizes: dict[Any, tuple[int, int]] = {}
        """Values and levels in each node, aliases counted as what they stand for."""
        self.held = (1, 1)
        """Of the node under way."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        is_alias = self.check_event(yaml.AliasEvent)
        around, self.held = self.held, (1, 1)
        node: Any = super().compose_node(parent, index)
        if not is_alias:
            self.sizes[node] = self.held
        elif node not in self.sizes:
            raise ComposerError(None, None, "found a value that contains itself", node.start_mark)
        values, levels = self.sizes[node]
        self.held = around[0] + values, max(around[1], levels + 1)
        if self.held[0] > MOST_VALUES or self.held[1] > MOST_LEVELS:
            what = f"found more than {MOST_VALUES} values, or {MOST_LEVELS} of them one in the other"
            raise ComposerError(None, None, what, node.start_mark)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        return {str(key): value for key, value in super().construct_mapping(node, deep).items()}

    def construct_yaml_int(self, node: Any) -> int:
        number = super().construct_yaml_int(node)
        if not -(2**63) <= number < 2**63:
            raise ConstructorError(None, None, "found a whole number of more than 64 bits", node.start_mark)
        return number


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+\Z"),
    list("-+.0123456789"),
)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_yaml_str)
for _kind in ("binary", "omap", "pairs", "set"):  # no manifest could hold them
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_undefined)

"""Options of a command that stand for a setting: their overrides, and their names in what is said of the setting."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from inward.errors import SettingsError


@contextmanager
def overrides(asked: Mapping[str, tuple[str, object]]) -> Iterator[list[str]]:
    """Overrides of the options that were given, and errors about their settings under the names of the options.

    Args:
        asked: by setting, the option and its value; None where it was not given.

    Yields:
        Texts as for `--set`.
    """
    given = {setting: (option, value) for setting, (option, value) in asked.items() if value is not None}
    try:
        yield [f"{setting}={value}" for setting, (_, value) in given.items()]
    except SettingsError as error:
        for setting, (option, _) in given.items():
            if about := re.match(rf"{re.escape(setting)}(?=:| must | = )", str(error)):
                own = option if option == f"--{setting}" else f"{option} ({setting})"
                raise SettingsError(own + str(error)[about.end() :]) from error
        raise

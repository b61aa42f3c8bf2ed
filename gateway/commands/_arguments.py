"""Passwords on the command line: every user of the machine may read the arguments of every process.

    ps, while we run                 sluice run --dsn postgresql://u:***@h/d
    what the command is given        sluice run --dsn postgresql://u:secret@h/d

The process is begun anew, in place and by the same number, with the arguments covered and the true ones in its
environment, which only the same user may read. Until then, a few hundredths of a second, they are seen: who minds
gives SLUICE_DSN, or settings. Shells keep what was typed, too.
Not here: secrets in settings (gateway/secret.py).
"""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence

# In the environment of the process that was begun anew.
GIVEN = "SLUICE_ARGUMENTS_GIVEN"
COVER = "***"


def _dsn(value: str) -> str:
    """Cover the password, in either of the places a DSN has for it; a `@` in one is its last."""
    value = re.sub(r"(://[^:/?@]*:).*@", rf"\1{COVER}@", value)
    return re.sub(r"(\bpassword\s*=)[^&\s]*", rf"\1{COVER}", value, flags=re.IGNORECASE)


def _account(value: str) -> str:
    return re.sub(":.*", f":{COVER}", value, flags=re.DOTALL)


# Options that may hold a password, with what covers it.
SECRET: Mapping[str, Callable[[str], str]] = {"--dsn": _dsn, "--of": _dsn, "--account": _account}


def covered(arguments: Sequence[str]) -> list[str]:
    """Give the arguments with every password covered."""
    found, cover = [], None
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if cover is not None:
            argument, cover = cover(argument), None
        elif name in SECRET and equals:
            argument = f"{name}={SECRET[name](value)}"
        else:
            cover = SECRET.get(argument)
        found.append(argument)
    return found


def cover_own() -> list[str]:
    """Begin this process anew where its arguments hold a password; -> the true arguments of the command."""
    arguments = sys.argv[1:]
    if GIVEN in os.environ:
        given = os.environ.pop(GIVEN)
        return [str(argument) for argument in json.loads(given)]
    shown = covered(arguments)
    if shown == arguments:
        return arguments
    # What stands before the arguments is Python, its options and the name of the program.
    before = sys.orig_argv[: len(sys.orig_argv) - len(arguments)]
    try:
        os.execve(sys.executable, [*before, *shown], {**os.environ, GIVEN: json.dumps(arguments)})
    except OSError:
        return arguments  # a machine that lets nothing begin: the command matters more

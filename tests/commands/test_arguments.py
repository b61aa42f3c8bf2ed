"""A password on the command line is covered where others see it, and is what the command gets."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.commands._arguments import covered
from tests.commands.conftest import PATIENCE_S, ROOT

SECRET = "c4nP:a@ss"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["run", "--dsn", f"postgresql://u:{SECRET}@h:1/d"], ["run", "--dsn", "postgresql://u:***@h:1/d"]),
        (["run", f"--dsn=postgresql://u:{SECRET}@h/d"], ["run", "--dsn=postgresql://u:***@h/d"]),
        (["--dsn", "postgresql://h/d?user=u&password=x&a=1"], ["--dsn", "postgresql://h/d?user=u&password=***&a=1"]),
        (["--dsn", "host=h password=x user=u"], ["--dsn", "host=h password=*** user=u"]),
        (["simulate", "--account", "me:x:y", "--tps", "5"], ["simulate", "--account", "me:***", "--tps", "5"]),
        (["simulate", "--account", "me"], ["simulate", "--account", "me"]),
        (["run", "--dsn", "postgresql://u@h/d", "-v"], ["run", "--dsn", "postgresql://u@h/d", "-v"]),
        (["run", "--dsn"], ["run", "--dsn"]),
    ],
)
def test_passwords_alone_are_covered(given, shown):
    assert covered(given) == shown


def test_process_shows_a_cover_and_knows_the_password_and_its_children_inherit_neither():
    code = (
        "import json, os, sys; from gateway.commands._arguments import cover_own\n"
        "given = cover_own()\n"
        "shown = open('/proc/self/cmdline').read()\n"
        "print(json.dumps([given, shown, [name for name in os.environ if 'GIVEN' in name]]))"
    )
    arguments = ["run", "--dsn", f"postgresql://u:{SECRET}@h/d"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
    )
    given, shown, inherited = json.loads(done.stdout)
    assert given == arguments and inherited == []
    assert SECRET not in shown and "postgresql://u:***@h/d" in shown


def test_running_simulator_shows_no_password_and_takes_it(start):
    running = start("simulate", "--account", f"me:{SECRET}")
    first = json.loads(running.process.stdout.readline())
    assert first["pid"] == running.process.pid
    shown = Path(f"/proc/{running.process.pid}/cmdline").read_bytes().decode()
    assert "me:***" in shown and SECRET not in shown

"""The command line finds its verbs in a folder and imports them late."""

import pkgutil
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import gateway.commands
from gateway.__main__ import main

MODULES = sorted(
    module.name for module in pkgutil.iter_modules(gateway.commands.__path__) if not module.name.startswith("_")
)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_holds_a_command_of_its_own_name(name):
    context = click.Context(main)
    command = main.get_command(context, name.rstrip("_").replace("_", "-"))
    assert isinstance(command, click.Command)
    assert command.help


def test_help_lists_every_verb():
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert all(f"  {name.rstrip('_').replace('_', '-')}" in result.output for name in MODULES)


def test_unknown_verb_is_a_usage_error():
    result = CliRunner().invoke(main, ["fly"])
    assert result.exit_code == 2
    assert "No such command 'fly'" in result.output


def test_one_verb_does_not_import_the_others():
    code = (
        "import sys; from gateway.__main__ import main; main(['codec', '--help'], standalone_mode=False);"
        "print([name for name in sys.modules if name.startswith(('asyncpg', 'gateway.store', 'gateway.commands.'))])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "['gateway.commands.codec']"

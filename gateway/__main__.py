"""The command line: one click group over the modules of gateway.commands.

Each module there holds one click command of its own name (an underscore is a dash on the command line, and nothing
at the end of a name that is a word of Python), found by listing the folder and imported only when it is asked
for: a new verb is a new file, and `sluice codec` does not pay for what `sluice run` imports.
Not here: what any command does.
"""

import importlib
import io
import keyword
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

import click

import gateway
import gateway.commands


class Commands(click.Group):
    """The verbs, imported late."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name every module of gateway.commands, importing none."""
        return sorted(
            module.name.rstrip("_").replace("_", "-")
            for module in pkgutil.iter_modules(gateway.commands.__path__)
            if not module.name.startswith("_")
        )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of that name and take its command; None when there is no such module."""
        if cmd_name not in self.list_commands(ctx):
            return None
        name = cmd_name.replace("-", "_")
        name += "_" * keyword.iskeyword(name)
        command = getattr(importlib.import_module(f"gateway.commands.{name}"), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"gateway.commands.{name}.{name}: expected a click command, found {type(command).__name__}")
        return command

    def main(self, args: Sequence[str] | None = None, *rest: Any, **more: Any) -> Any:
        """Run; where the arguments are those of the process, passwords among them are covered first."""
        if args is None:
            from gateway.commands._arguments import cover_own  # late, as everything of that folder

            args = cover_own()
        return super().main(args, *rest, **more)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gateway.__version__, prog_name="sluice")
def main() -> None:
    """Run an SMS campaign gateway: from the audience to the carrier's SMSC and back."""
    # A terminal that is not UTF-8 shows what it cannot write by its code, as standard error does anyway.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main(prog_name="sluice")

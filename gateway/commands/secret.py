"""`sluice secret`: seal a password for a file of settings."""

import os
import secrets
import sys

import click

from gateway import secret as sealing
from gateway.commands._options import said_plainly


@click.command()
def secret() -> None:
    """Read a secret from the terminal or standard input, and print what to write in its place.

    The key is 64 hexadecimal digits in SLUICE_KEY, or in the file that SLUICE_KEY_FILE names.
    """
    with said_plainly():
        key = sealing.key_of(os.environ)
        if sys.stdin.isatty():
            text = click.prompt("secret", hide_input=True, confirmation_prompt=True, err=True)
        else:
            text = sys.stdin.read().removesuffix("\n")
        click.echo(sealing.seal(text, key, secrets.token_bytes(12)))

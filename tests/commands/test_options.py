"""What the commands share: seconds, DSNs, errors as sentences."""

import io
import logging
import os
import sys

import click
import pytest

from gateway import logs
from gateway.commands._options import Finite, Refused, plain, said_plainly, say, set_up_logging, settings_of
from gateway.errors import BindRefused, ConfigError, FileFault, StoreError


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "1e12", "soon", ""])
def test_seconds_are_a_number_that_a_clock_can_take(text):
    with pytest.raises(click.BadParameter):
        Finite().convert(text, None, None)


def test_seconds_have_a_lower_bound_of_their_own():
    assert Finite().convert("0", None, None) == 0.0
    assert Finite(1).convert("1.5", None, None) == 1.5
    with pytest.raises(click.BadParameter):
        Finite(1).convert("0.5", None, None)


def test_dsn_of_the_command_line_goes_over_the_settings(tmp_path):
    path = tmp_path / "sluice.toml"
    path.write_text('[database]\ndsn = "postgresql://a@h/d"\n')
    assert settings_of(path).database.dsn == "postgresql://a@h/d"
    assert settings_of(path, "postgresql://b@h/d").database.dsn == "postgresql://b@h/d"
    with pytest.raises(ConfigError, match="^--dsn: expected postgresql://"):
        settings_of(path, "b@h/d")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            ConfigError([("a", "b", "c"), ("d", "e", "f")]), 78,
            "config: a: expected b, found c\nconfig: d: expected e, found f\n",
        ),
        (FileFault("missing", "x\x1b[31m: no such file"), 65, "contacts: x\\x1b[31m: no such file\n"),
        (StoreError("away", retryable=True), 75, "postgres: away\n"),
        (BindRefused("me", 14, "ESME_RINVPASWD"), 1, "bind of 'me' refused: ESME_RINVPASWD (0x0e)\n"),
    ],
)  # fmt: skip
def test_error_raised_on_purpose_is_a_sentence_and_an_exit_code(capsys, error, code, said):
    with pytest.raises(SystemExit) as caught, said_plainly():
        raise error
    assert (caught.value.code, capsys.readouterr().err) == (code, said)


def test_any_other_error_is_a_bug_and_stays_one():
    with pytest.raises(ZeroDivisionError), said_plainly():
        raise ZeroDivisionError


def test_refusal_has_the_exit_code_of_wrong_data():
    assert Refused("no").exit_code == 65


def test_saying_goes_on_when_nobody_listens(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as broken:
        monkeypatch.setattr(sys, "stderr", broken)
        say("hello")
        say("hello")
        monkeypatch.undo()
        with pytest.raises(BrokenPipeError):
            broken.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), broken.fileno())


def test_text_of_a_stranger_keeps_its_letters_and_loses_its_escapes():
    assert plain("Zoë\x1b]0;x\x07\n\udce9") == "Zoë\\x1b]0;x\\x07 \\xdce9"


def test_verbosity_sets_the_level_until_the_command_ends():
    root = logging.getLogger()
    before, levels = root.level, []
    for verbose in range(4):
        with click.Context(click.Command("x")):
            set_up_logging(verbose)
            levels.append(root.level)
    assert levels == [logging.WARNING, logging.INFO, logging.DEBUG, logging.DEBUG]
    assert root.level == before


def test_what_is_said_and_what_is_logged_go_one_way_and_wait_for_no_reader(capfd):
    with click.Context(click.Command("x")):
        set_up_logging(0)
        assert logs.current() is not None
        say("said")
        logging.getLogger("x").warning("logged")
        say("said again")
    assert logs.current() is None
    first, second, third = capfd.readouterr().err.splitlines()
    assert (first, third) == ("said", "said again") and second.endswith(" W logged")


def test_stream_without_a_descriptor_is_written_to_as_it_is(monkeypatch):
    given = []
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(logging, "basicConfig", lambda **options: given.append(options["stream"]))
    set_up_logging(0)
    say("said")
    assert given == [sys.stderr] and sys.stderr.getvalue() == "said\n"

"""`sluice demo` in a small size: it comes to its report and leaves what one can go on with."""

import fcntl
import shutil

import pytest

from gateway.commands.demo import SETTINGS, SIMULATOR, write_people
from gateway.config import load
from gateway.contacts.table import Table


@pytest.fixture
def folder(data_root, environment):
    """A home for the demo that a server's user may enter."""
    environment["SLUICE_HOME"] = str(data_root)
    return data_root / "demo"


def test_demo_comes_to_its_report_and_can_be_gone_on_with(sluice, folder):
    result = sluice("demo", "--people", "2000", "--json")
    assert result.code == 0, result.err
    assert result.json["recipients"] == 2000 == sum(result.json["states"].values())
    assert [lane["carrier"] for lane in result.json["lanes"]] == ["north", "south"]
    assert result.json["states"]["delivered"] > 1700 and not result.json["states"].get("uncertain")
    assert "how to go on" in result.err
    carriers = load(folder / "sluice.toml", {}).carriers
    assert all(carrier.port for carrier in carriers.values())
    assert sluice("status", "--config", str(folder / "sluice.toml"), "--json").json["runs"][0] == result.json
    shutil.rmtree(folder / "postgres" / "data")
    (folder / "postgres" / "data").mkdir(mode=0o755)
    (folder / "postgres" / "data" / "PG_VERSION").write_text("12\n")
    other = sluice("demo", "--people", "10")
    assert other.code == 75 and "of 12" in other.err and "give another --folder" in other.err


def test_demo_runs_on_a_database_of_the_users_own(sluice, folder, dsn):
    result = sluice("demo", "--people", "300", "--dsn", dsn)
    assert result.code == 0 and "delivered" in result.out
    assert not (folder / "postgres").exists()


def test_second_demo_in_the_same_folder_is_refused(here, folder):
    folder.mkdir()
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = here("demo", "--people", "10")
    assert result.code == 1 and "a demo runs in" in result.err


def test_folder_that_is_a_file_is_refused_in_a_sentence(here, tmp_path):
    (tmp_path / "file").write_text("")
    result = here("demo", "--folder", str(tmp_path / "file" / "below"))
    assert result.code == 1 and "Not a directory" in result.err


def test_same_seed_makes_the_same_people(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_people(tmp_path / name, 200, seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()
    with Table(str(tmp_path / "a")) as table:
        assert (table.delimiter, table.fields) == (";", ["mobile", "first_name", "city", "code"])


def test_settings_of_the_demo_are_right(tmp_path):
    (tmp_path / "sluice.toml").write_text(SETTINGS.format(north=1, south=2))
    assert load(tmp_path / "sluice.toml", {}).data_root == tmp_path
    assert SIMULATOR.format(seed=1, north=0, south=0)

"""Migrations: once, one statement at a time, whoever races or dies."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from gateway.errors import StoreError
from gateway.store import migrate as runner
from gateway.store.migrate import migrate, pending

FIRST = "CREATE TABLE one (id int);\nINSERT INTO one VALUES (1);\n"
SECOND = "-- A body with a semicolon.\nDO $$ BEGIN INSERT INTO one VALUES (2); END $$;\nCREATE TABLE two (id int)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text(FIRST)
    (tmp_path / "0002_second.sql").write_text(SECOND)
    (tmp_path / "README").write_text("no migration")
    return tmp_path


async def rows(dsn: str, sql: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        found: list[asyncpg.Record] = await connection.fetch(sql)
        return found
    finally:
        await connection.close()


async def test_files_are_applied_once_and_in_order(empty_dsn: str, folder: Path) -> None:
    assert await pending(empty_dsn, folder) == ["0001_first.sql", "0002_second.sql"]
    assert await migrate(empty_dsn, folder) == ["0001_first.sql", "0002_second.sql"]
    assert await migrate(empty_dsn, folder) == []
    assert await pending(empty_dsn, folder) == []
    assert [row["id"] for row in await rows(empty_dsn, "SELECT id FROM one ORDER BY id")] == [1, 2]


async def test_new_file_is_applied_to_an_old_database(empty_dsn: str, folder: Path) -> None:
    await migrate(empty_dsn, folder)
    (folder / "0010_third.sql").write_text("ALTER TABLE two ADD COLUMN n int")
    assert await migrate(empty_dsn, folder) == ["0010_third.sql"]


async def test_runners_that_race_apply_each_file_once_between_them(empty_dsn: str, folder: Path) -> None:
    for number in range(3, 15):
        (folder / f"{number:04}_more.sql").write_text(f"CREATE TABLE t{number} (id int); INSERT INTO one VALUES (1)")
    done = await asyncio.gather(*(migrate(empty_dsn, folder) for _ in range(4)))
    assert sorted(name for names in done for name in names) == sorted(path.name for path in folder.glob("*.sql"))
    assert len(await rows(empty_dsn, "SELECT id FROM one")) == 14


async def test_index_can_be_made_concurrently_while_another_runner_waits(empty_dsn: str, folder: Path) -> None:
    (folder / "0003_index.sql").write_text(
        "-- no transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS one_id ON one (id);\nINSERT INTO one VALUES (3)"
    )
    async with asyncio.timeout(30):
        await asyncio.gather(*(migrate(empty_dsn, folder) for _ in range(3)))
    assert len(await rows(empty_dsn, "SELECT 1 FROM pg_indexes WHERE indexname = 'one_id'")) == 1
    assert len(await rows(empty_dsn, "SELECT 1 FROM one WHERE id = 3")) == 1


async def test_refused_statement_is_named_and_a_mended_file_goes_on_after_the_last_good_one(
    empty_dsn: str, folder: Path
) -> None:
    path = folder / "0003_third.sql"
    path.write_text("INSERT INTO one VALUES (3);\n-- oops\nINSERT INTO tow VALUES (1)")
    with pytest.raises(StoreError, match=r"0003_third\.sql: statement 2 of 2: .*42P01") as caught:
        await migrate(empty_dsn, folder)
    assert "INSERT INTO tow" in str(caught.value)
    assert not caught.value.retryable
    assert await pending(empty_dsn, folder) == ["0003_third.sql"]
    path.write_text("INSERT INTO one VALUES (3);\nINSERT INTO two VALUES (1)")
    assert await migrate(empty_dsn, folder) == ["0003_third.sql"]
    assert len(await rows(empty_dsn, "SELECT 1 FROM one WHERE id = 3")) == 1


async def test_runner_that_dies_between_two_statements_is_resumed_by_the_next(
    empty_dsn: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "0003_third.sql"
    path.write_text(";".join(f"INSERT INTO one VALUES ({number})" for number in range(10, 15)))
    note = runner._note

    async def die(connection: "asyncpg.Connection[asyncpg.Record]", version: int, number: int, digest: str) -> None:
        await note(connection, version, number, digest)
        if (version, number) == (3, 2):
            connection.terminate()

    monkeypatch.setattr(runner, "_note", die)
    with pytest.raises(StoreError):
        await migrate(empty_dsn, folder)
    monkeypatch.setattr(runner, "_note", note)
    assert [row["id"] for row in await rows(empty_dsn, "SELECT id FROM one WHERE id > 9")] == [10, 11]
    assert await migrate(empty_dsn, folder) == ["0003_third.sql"]
    assert [row["id"] for row in await rows(empty_dsn, "SELECT id FROM one WHERE id > 9")] == [10, 11, 12, 13, 14]


async def test_applied_statement_of_an_unfinished_file_may_not_change(empty_dsn: str, folder: Path) -> None:
    path = folder / "0003_third.sql"
    path.write_text("INSERT INTO one VALUES (3); SELECT 1/0")
    with pytest.raises(StoreError, match="22012"):
        await migrate(empty_dsn, folder)
    path.write_text("INSERT INTO one VALUES (4); SELECT 1")
    with pytest.raises(StoreError, match=r"0003_third\.sql: statement 1 is applied already and was changed"):
        await migrate(empty_dsn, folder)


async def test_applied_file_may_not_change_but_for_its_line_ends(empty_dsn: str, folder: Path) -> None:
    await migrate(empty_dsn, folder)
    (folder / "0001_first.sql").write_bytes(b"\xef\xbb\xbf" + FIRST.replace("\n", "\r\n").encode())
    assert await migrate(empty_dsn, folder) == []
    (folder / "0001_first.sql").write_text(FIRST + "SELECT 1;")
    with pytest.raises(StoreError, match=r"0001_first\.sql was changed after it was applied"):
        await migrate(empty_dsn, folder)


async def test_database_of_a_newer_program_is_gone_on_with_and_that_is_said(
    empty_dsn: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await migrate(empty_dsn, folder)
    for name in ("0003_pre_third.sql", "0004_fourth.sql"):
        (folder / name).write_text("SELECT 1")
    await migrate(empty_dsn, folder)
    for name in ("0003_pre_third.sql", "0004_fourth.sql"):
        (folder / name).unlink()
    assert await migrate(empty_dsn, folder) == [] == await pending(empty_dsn, folder)
    assert [name in caplog.text for name in ("0003_pre_third.sql", "0004_fourth.sql")] == [True, True]


async def test_database_that_only_a_newer_program_can_work_on_is_refused(empty_dsn: str, folder: Path) -> None:
    (folder / "0003_post_third.sql").write_text("DROP TABLE one")
    await migrate(empty_dsn, folder)
    (folder / "0003_post_third.sql").unlink()
    for ask in (migrate, pending):
        with pytest.raises(StoreError, match=r"expected a schema .* found 0003_post_third\.sql applied.*newer program"):
            await ask(empty_dsn, folder)


async def a_worker(dsn: str, instance: str, schema: int | None, seen: str = "0 s") -> None:
    report = "{}" if schema is None else f'{{"schema": {schema}}}'
    await rows(
        dsn,
        "INSERT INTO worker (instance, host, boot, pid, started_at, seen_at, node, place, carriers, report) VALUES "
        f"('{instance}', 'h', '', 7, now(), now() - interval '{seen}', '{instance}', 0, '{{}}', '{report}')",
    )


async def test_file_that_takes_away_waits_for_the_last_worker_that_does_not_know_it(
    dsn: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package = Path(runner.__file__).parent / "migrations"
    for file in (*folder.glob("*.sql"), *package.glob("*.sql")):
        (folder / file.name).write_bytes(file.read_bytes()) if file.parent == package else file.unlink()
    number = runner.known() + 1
    name = f"{number:04}_post_away.sql"
    (folder / name).write_text("CREATE TABLE post (id int)")
    await a_worker(dsn, "old", None)
    await a_worker(dsn, "new", number)
    await a_worker(dsn, "gone", None, "90 s")
    assert await migrate(dsn, folder) == [] and await pending(dsn, folder) == [name]
    assert f"{name} waits" in caplog.text and "old (pid 7 on h)" in caplog.text and "gone" not in caplog.text
    (folder / f"{number + 1:04}_pre_needed.sql").write_text("CREATE TABLE pre (id int)")
    with pytest.raises(StoreError, match=rf"{number + 1:04}_pre_needed\.sql: expected {name} before it.*old") as caught:
        await migrate(dsn, folder)
    assert caught.value.retryable
    await rows(dsn, "DELETE FROM worker WHERE instance = 'old'")
    assert await migrate(dsn, folder) == [name, f"{number + 1:04}_pre_needed.sql"]


async def test_schema_that_is_older_than_needed_is_refused_and_one_that_lacks_a_last_post_file_is_not(
    dsn: str, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match=r"the schema lacks 0001_queue\.sql, .*`sluice migrate`"):
        await runner.require(empty_dsn)
    await runner.require(dsn)
    for missing, is_enough in ((["0099_post_x.sql"], True), (["0098_post_x.sql", "0099_pre_y.sql"], False)):

        async def found(_: str, missing: list[str] = missing) -> list[str]:
            return list(missing)

        monkeypatch.setattr(runner, "pending", found)
        if is_enough:
            await runner.require(dsn)
        else:
            with pytest.raises(StoreError, match="lacks 0098_post_x"):
                await runner.require(dsn)


async def test_file_that_comes_too_late_is_refused(empty_dsn: str, folder: Path) -> None:
    await migrate(empty_dsn, folder)
    (folder / "0001_first.sql").rename(folder / "0001_first.sql")
    (folder / "0004_fourth.sql").write_text("SELECT 1")
    await migrate(empty_dsn, folder)
    (folder / "0003_third.sql").write_text("SELECT 1")
    with pytest.raises(StoreError, match=r"0003_third\.sql comes before 0004_fourth\.sql"):
        await migrate(empty_dsn, folder)


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("0002_twice.sql", "SELECT 1", "have the same number"),
        ("3_short.sql", "SELECT 1", "expected a name like"),
        ("0003_quote.sql", "SELECT 'x", r"0003_quote\.sql: line 1: expected the end"),
        ("0003_own.sql", "SELECT 1;\n/* ! */ BEGIN; SELECT 2; COMMIT", "BEGIN: each statement is a transaction"),
    ],
)
def test_folder_that_is_not_in_order_is_refused_before_anything_runs(
    folder: Path, name: str, text: str, what: str
) -> None:
    (folder / name).write_text(text)
    with pytest.raises(StoreError, match=what):
        runner.read(folder)


async def test_runner_gives_up_when_another_one_works_for_too_long(empty_dsn: str, folder: Path) -> None:
    holder = await asyncpg.connect(empty_dsn)
    try:
        await holder.execute("SELECT pg_advisory_lock($1::bigint)", runner.LOCK_KEY)
        with pytest.raises(StoreError, match="another runner") as caught:
            await migrate(empty_dsn, folder, lock_timeout_s=0.1)
        assert caught.value.retryable
    finally:
        await holder.close()


async def test_package_migrations_are_applied_to_the_template_and_repeatable(dsn: str) -> None:
    assert await migrate(dsn) == []

"""Files of the schema are safe while workers of the version before still run, or say that they are not."""

import importlib.resources

import pytest
from pglast import ast, parse_sql
from pglast.enums import AlterTableType, ConstrType

from gateway.store.migrate import Migration, read

# Applied with every worker stopped (docs/operations.md), before there were rules.
LAST_WITHOUT_RULES = 14
FILES = read(importlib.resources.files("gateway.store").joinpath("migrations"))
# Where tables stand on a cluster is for a step of its own; such a body does nothing else.
PLACING = ("create_distributed_table", "create_reference_table")

# How a table is stored and vacuumed: nobody who reads or writes it notices, nor waits for the change.
TUNING = ("fillfactor", "autovacuum_vacuum_scale_factor", "autovacuum_vacuum_threshold")


def faults_of(statements: list[str]) -> list[str]:
    """What of some statements a program that does not know them could not go on over."""
    made: set[str] = set()
    found = []
    for statement in statements:
        for raw in parse_sql(statement):
            node = raw.stmt
            if isinstance(node, ast.CreateStmt):
                made.add(node.relation.relname)
            elif isinstance(node, ast.IndexStmt):
                if node.unique and node.relation.relname not in made:
                    found.append(f"a unique index on {node.relation.relname}, which others write to")
            elif isinstance(node, ast.AlterTableStmt):
                if node.relation.relname not in made:
                    found += [fault for each in node.cmds if (fault := fault_of(node.relation.relname, each))]
            elif isinstance(node, ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt):
                if node.relation.relname not in made:
                    found.append(f"rows of {node.relation.relname} are changed, which others write to")
            elif isinstance(node, ast.DoStmt):
                calls = [line for line in statement.splitlines() if "PERFORM" in line]
                if not all(any(name in line for name in PLACING) for line in calls) or "EXECUTE" in statement:
                    found.append("a DO that does more than to place tables")
            elif not isinstance(node, ast.CommentStmt | ast.CreateSeqStmt | ast.ViewStmt | ast.CreateFunctionStmt):
                found.append(f"{type(node).__name__}: not known to be safe")
    return found


def fault_of(table: str, command: ast.AlterTableCmd) -> str:
    """What of one ALTER TABLE of a table that others write to is not safe; empty: nothing."""
    if command.subtype == AlterTableType.AT_SetRelOptions and all(one.defname in TUNING for one in command.def_):
        return ""
    if command.subtype != AlterTableType.AT_AddColumn:
        return f"{table}: {command.subtype.name}: not known to be safe"
    kinds = {each.contype for each in command.def_.constraints or ()}
    if ConstrType.CONSTR_NOTNULL in kinds and ConstrType.CONSTR_DEFAULT not in kinds:
        return f"{table}.{command.def_.colname}: NOT NULL without a default, which others do not write"
    if kinds & {
        ConstrType.CONSTR_UNIQUE,
        ConstrType.CONSTR_PRIMARY,
        ConstrType.CONSTR_CHECK,
        ConstrType.CONSTR_FOREIGN,
    }:
        return f"{table}.{command.def_.colname}: a constraint that others do not know"
    return ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_file_of_the_schema_only_adds_or_is_named_post(file: Migration) -> None:
    """If this fails: call the file NNNN_post_…, and let the program do without it, or add in another way."""
    if file.version > LAST_WITHOUT_RULES and not file.is_post:
        assert faults_of(file.statements) == []


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("CREATE TABLE a (id int); CREATE UNIQUE INDEX ON a (id); INSERT INTO a VALUES (1)", ""),
        ("ALTER TABLE chunk ADD COLUMN x int NOT NULL DEFAULT 0; CREATE INDEX ON chunk (x)", ""),
        ("DO $$ BEGIN PERFORM create_reference_table('a'); END $$", ""),
        ("ALTER TABLE chunk SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02)", ""),
        ("ALTER TABLE chunk SET (autovacuum_enabled = off)", "AT_SetRelOptions"),
        ("DROP TABLE chunk", "DropStmt"),
        ("ALTER TABLE chunk DROP COLUMN n", "AT_DropColumn"),
        ("ALTER TABLE chunk RENAME COLUMN n TO m", "RenameStmt"),
        ("ALTER TABLE chunk ALTER COLUMN n TYPE bigint", "AT_AlterColumnType"),
        ("ALTER TABLE chunk ALTER COLUMN n SET NOT NULL", "AT_SetNotNull"),
        ("ALTER TABLE chunk ADD COLUMN x int NOT NULL", "without a default"),
        ("ALTER TABLE chunk ADD COLUMN x int UNIQUE", "a constraint"),
        ("CREATE UNIQUE INDEX ON chunk (n)", "unique index"),
        ("UPDATE chunk SET n = 1", "rows of chunk"),
        ("DO $$ BEGIN PERFORM undistribute_table('a'); END $$", "more than to place"),
    ],
)
def test_what_an_older_program_cannot_go_on_over_is_found(sql: str, fault: str) -> None:
    found = faults_of([sql])
    assert bool(found) == bool(fault) and fault in "".join(found)

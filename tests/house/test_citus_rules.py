"""Every statement is written so that a Citus cluster takes it as one Postgres does: one schema, one set of them."""

import ast
import importlib.resources
import re
from pathlib import Path

import pytest
from pglast import parse_sql
from pglast.parser import ParseError

from gateway.store.migrate import read
from gateway.store.placement import PLACES, call_of
from gateway.store.queries import all_queries
from tests.fixtures.citus_rules import faults_of, faults_of_all_lanes, faults_of_migration, look

STORE = Path(__file__).parents[2] / "gateway" / "store"

REPORT = "a report on a run, which is on many lanes; asked by a person"
BATCH = "a batch of what is told of many persons; they are held in their order"
FEW = "once for each person that is shown, joined or erased: their names are in many buckets"
ENQUEUE = "once a run, for all its lanes"
# Statements over all lanes or buckets, each with why it may ask every node. None is on the path of a message.
CLAIMED = "once a claim, for the people of its chunks: of a large run those of one bucket or two"
NIGHTLY = "once a night, for all people"
SOURCE = "once a run of a source, for its whole list"
STEPPING = "some rounds a second, of one worker: where is anything to do"
ALL_LANES = {
    "add_causes": BATCH,
    "buckets_to_step": STEPPING,
    "outgoing_rows": STEPPING,
    "unwanted_texts": STEPPING,
    "outgoing_still": STEPPING,
    "owed_of_persons": "some seconds apart, by one worker: what is still to be told, whoever of",
    "owe_of_persons": BATCH,
    "paid_of_persons": BATCH,
    **dict.fromkeys(
        (
            "take_causes_of_many",
            "due_enrolments_of_many",
            "enrolments_of",
            "numbers_of_profiles",
            "add_enrolments",
            "end_enrolments",
            "wake_enrolments",
            "move_enrolments",
            "add_step_runs",
            "persons_of_texts",
            "virtual_sends",
            "drop_outgoing",
            "with_persons",
            "texts_made_lately",
            "add_unwanted",
            "add_unwanted_of_enrolments",
            "drop_unwanted",
            "prevented_in_queue",
            "add_excepted",
        ),
        "those of a batch of steps, of one bucket where there are several servers",
    ),  # fmt: skip
    "runs_with_texts": "once a month, before old runs of steps go; what is in the table is some seconds old",
    "enrolment_counts": "a campaign as a whole; asked by a person",
    **dict.fromkeys(
        ("due_by_campaign", "causes_by_name", "outgoing_by_name"),
        "what all campaigns are behind with; asked by a person or at most each 5 s by who reads figures",
    ),
    "any_under_way": "a campaign that drains; once a minute, until nobody is",
    "enrolments_at_gate": CLAIMED,
    "prevented_at_gate": CLAIMED,
    "persons_talk": CLAIMED,
    **dict.fromkeys(
        (
            "has_excepted",
            "open_excepted",
            "ends_of_texts",
            "end_excepted",
            "forget_excepted",
            "asked_excepted",
            "answer_excepted",
        ),
        "once a round of a job: texts that were made before an exception was told, whoever they are for",
    ),
    "report_exceptions": REPORT,
    "considered._SUMS": REPORT,
    "considered._WORDS": REPORT,
    "message_states": REPORT,
    "late_conflicts": REPORT,
    "refusals": REPORT,
    "latencies": REPORT,
    "latency_counts": REPORT,
    "is_rolled": REPORT,
    "unreceipted": REPORT,
    "chunk_states": REPORT,
    "open_chunks": REPORT,
    "open_of_run": REPORT,
    "queue_by_lane": "the whole queue; asked by a person",
    "sender_waits": "a sender may be on any lane; asked by a person who drains it",
    "trace_transfers": "where a message came from and went to: two lanes; asked by a person",
    "sample_cells": ENQUEUE,
    "materialise_chunks": ENQUEUE,
    "refuse_unrouted": ENQUEUE,
    "count_positions": ENQUEUE,
    "announce": ENQUEUE,
    "see_events": BATCH,
    "seen_otherwise": BATCH,
    "hold_persons": BATCH,
    "wake_persons": BATCH,
    "profiles_held": BATCH,
    "add_profiles": BATCH,
    "attributes_of": BATCH,
    "write_attributes": BATCH,
    "go_on": BATCH,
    "touch_profiles": BATCH,
    "mark_profiles": BATCH,
    "add_totals": BATCH,
    "session_ends": BATCH,
    "session_neighbours": BATCH,
    "open_sessions": BATCH,
    "orders_told": BATCH,
    "write_orders": BATCH,
    "spent_of": BATCH,
    "write_spent": BATCH,
    "add_coupons_told": BATCH,
    "coupons_told": "orders that name codes, of all people; once a round of a job",
    "identities_of": BATCH,
    "profiles_of_numbers": BATCH,
    "hold_numbers": BATCH,
    "add_identities": BATCH,
    "point_identities": BATCH,
    "named_profiles": BATCH,
    "identities_of_profile": FEW,
    "erase_identities": FEW,
    "places_of_id": FEW,
    "newest_events": "once a round of a job: which lanes have something new",
    "questions_over": "some seconds apart: whose time is over, whoever they are",
    "owed": "once a round of a job: what is to be done, whoever for",
    "orders_due": "once a round of a job: which shops are to be told, whoever ordered",
    "is_order_due": "once a round of a job: is any shop to be told",
    "is_owed": "once a round of a job: is anything to be done",
    "loads_of_agents": "once a round with something to assign: a row for each agent",
    "conversations_to_look_at": "some seconds apart: of which something is due, whoever they are with",
    "conversations_listed": "asked by a person",
    "conversation_place": "asked by a person: an id alone does not say where",
    "has_people": "once a round of a job: is anybody known",
    "last_sent": BATCH,
    "hand_identities": FEW,
    "count_list_entries": "a list as a whole; somebody has changed it by hand",
    "list_sources": "a list as a whole; asked by a person",
    "purchase_gaps": "all orders; asked by a person",
    "purchase_repeats": "all orders; asked by a person",
    "silences": "all people; asked by a person",
    "rfm_groups": "all scores; asked by a person",
    "currency_of_most": NIGHTLY,
    "least_recencies": NIGHTLY,
    "least_frequencies": NIGHTLY,
    "least_moneys": NIGHTLY,
    "main_currency": NIGHTLY,
    "persons_told": "of whom something was told lately, once a round of reports",
    **dict.fromkeys(
        (
            "report_skipped",
            "report_timing",
            "report_lives",
            "report_year",
            "report_reactivated",
            "report_hours",
            "report_sources",
            "report_growth",
            "report_opt_outs",
            "report_prevented",
            "report_conversations",
            "report_rules",
            "report_influenced",
        ),
        "a report on all people; asked by a person",
    ),
    "numbers_of_lists": "the numbers of the house, once a round of reports",
    "members_in": "an audience as a whole; asked by a person",
    "consent_pages": CLAIMED,
    "contact_pages": CLAIMED,
    "contacts_of_run": "once a piece of what failed, for its people",
    "open_consent_pages": BATCH,
    "fill_consent_pages": BATCH,
    "note_lines_of_numbers": BATCH,
    "agreed_among": BATCH,
    "clear_source_rows": SOURCE,
    "source_entered": SOURCE,
    "source_left": SOURCE,
    "drop_left": SOURCE,
    "take_source_rows": SOURCE,
    "links_of": "requests of one moment, for links of many persons",
    "add_clicks": BATCH,
    "note_beacons": BATCH,
    "untold_clicks": "once a round of a job: what was opened and is not told yet",
    "decide_clicks": BATCH,
    "has_untold": "once a round of a job: was anything opened or filled in",
    "untold_entries": "once a round of a job: what was filled in and is not told yet",
    "tell_entries": BATCH,
    "count_entries": REPORT,
    "clicks_of_run": REPORT,
    "clicks_of_rate": "a run that has a rate of clicks; at most a twentieth of the time of one worker",
    "links_of_run": REPORT,
    "people._ANY_ENTRY": "once an import",
    "people._UPSERT": "once an import, by ranges of buckets",
    "people._COUNT": "once an import",
    "considered._TAKE_SKIPPED_AWAY": "when a freeze fails",
    "selection._EMPTY": "when a freeze fails, or was cut off",
    "selection._SHARED": "a count of all people",
}
# Statements that break a rule, with the one fault that each may have, and the reason.
ALLOWED = {
    "materialise_payload": (
        ["tables of different groups in one statement: ['chunk', 'endpoint'] [27]"],
        "people become messages: the rows change their key, by way of every node (rule 28: 1.5 M/s)",
    ),
    "announce_numbers": (
        ["contact_page (written): no key equal to a parameter [15]"],
        "people of a lane's chunks become due in their own buckets; once for a run that another goes behind",
    ),
    **{
        name: (
            ["keys are equal to different parameters: [1, 3] [24]"],
            "a person moves, or becomes another: two buckets",
        )
        for name in (
            "move_person_events",
            "move_totals",
            "move_orders",
            "move_session",
            "move_memberships",
            "move_rfm",
            "move_changed",
            "move_causes",
            "move_enrolments_of",
            "move_step_runs",
            "move_excepted",
            "keys_of_both",
        )
    },
    "move_profile": (["keys are equal to different parameters: [1, 2] [24]"], "a person moves: two buckets"),
    "people._MERGE": (
        ["list_entry (written): no key equal to a parameter [15]"],
        "a piece of an import comes from a temporary table of the session, once",
    ),
    "0003_receipts.sql": (
        ["run.receipt_policy: a column is added without its constraints, which follow [61]"],
        "it runs before anything is distributed: gateway/store/migrate.py sees to it",
    ),
}
CALL = re.compile(r"(\w+_(?:table))\('(\w+)'(?:, '(\w+)', colocate_with => '(\w+)')?\)")
MIGRATIONS = read(importlib.resources.files("gateway.store").joinpath("migrations"))


def inline_statements() -> dict[str, str]:
    """The statements that stand in the store's Python as constants with a name, by room and name."""
    found = {}
    for file in sorted(STORE.glob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                try:
                    parsed = parse_sql(node.value.value)
                except ParseError:
                    continue
                if parsed and isinstance(node.targets[0], ast.Name):
                    found[f"{file.stem}.{node.targets[0].id}"] = node.value.value
    return found


STATEMENTS = {name: one.sql for name, one in all_queries().items()} | inline_statements()


def faults(name: str) -> list[str]:
    """What is wrong with a statement by the rules that hold for it."""
    sql = STATEMENTS[name]
    return faults_of_all_lanes(sql) if name in ALL_LANES or name == "materialise_payload" else faults_of(sql)


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_a_statement_of_one_lane_says_so_at_every_table_and_others_are_listed_with_a_reason(name: str) -> None:
    """One lane is one shard: a reference without it asks all of them, and is no error."""
    assert faults(name) == ALLOWED.get(name, ([], ""))[0]


@pytest.mark.parametrize("file", MIGRATIONS, ids=lambda file: file.name)
def test_a_migration_has_nothing_that_distributed_tables_refuse(file) -> None:
    assert faults_of_migration(file.statements) == ALLOWED.get(file.name, ([], ""))[0]


def test_lists_of_what_may_be_otherwise_name_only_what_needs_it() -> None:
    assert [name for name in ALL_LANES if name not in STATEMENTS or not faults_of(STATEMENTS[name])] == []
    assert [name for name in ALLOWED if name not in STATEMENTS and name not in {file.name for file in MIGRATIONS}] == []
    assert all(ALL_LANES.values()) and all(reason for _, reason in ALLOWED.values())


def test_statements_of_the_rooms_are_looked_at_too() -> None:
    assert {"people._OPEN", "people._UPSERT", "placement._FOUND", "migrate._CREATE"} <= set(STATEMENTS)


def test_migrations_distribute_what_has_a_place_and_as_it_says() -> None:
    """Played in their order, the calls in the DO blocks end where `sluice migrate --distributed` does."""
    made: dict[str, str] = {}
    for file in MIGRATIONS:
        for statement in file.statements:
            for call, table, key, group in CALL.findall(statement):
                assert call != "create_distributed_table" or group in {"none", *made}, f"{file.name}: {table}"
                if call == "undistribute_table":
                    del made[table]
                else:
                    more = f", '{key}', colocate_with => '{group}'" if key else ""
                    made[table] = f"SELECT {call}('{table}'{more})"
    assert made == {name: call_of(name) for name, place in PLACES.items() if place.kind != "local"}


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("SELECT 1 FROM outcome WHERE chunk_id = $1", "outcome: no key"),
        (
            "SELECT 1 FROM outcome o JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id WHERE o.lane = $1::int",
            "chunk as k: no key",
        ),
        ("SELECT 1 FROM outcome o LEFT JOIN chunk k ON k.lane = o.lane AND o.lane = $1::int", "outcome as o: no key"),
        ("SELECT 1 FROM outcome WHERE lane = $1::int OR chunk_id = $2", "outcome: no key"),
        ("SELECT 1 FROM outcome WHERE lane = ANY($1::int[])", "outcome: no key"),
        ("SELECT 1 FROM outcome WHERE lane = $1::int AND pos IN (SELECT n FROM chunk)", "chunk: no key"),
        ("WITH a AS (SELECT id FROM chunk) SELECT 1 FROM outcome WHERE lane = $1::int", "chunk: no key"),
        (
            "SELECT 1 FROM outcome o, chunk k WHERE o.lane = $1::int AND k.lane = $2::int",
            "different parameters: [1, 2]",
        ),
        ("UPDATE chunk SET state = 1 FROM unnest($1::int[]) AS u (lane) WHERE chunk.lane = u.lane", "chunk: no key"),
        ("DELETE FROM receipt USING chunk k WHERE k.lane = $1::int", "receipt: no key"),
        ("INSERT INTO flush (id, at) VALUES ($1, $2)", "flush (written): no key"),
        (
            "INSERT INTO flush (lane, id, at) SELECT lane, 1, $1 FROM unnest($2::int[]) AS u (lane)",
            "flush (written): no key",
        ),
        ("INSERT INTO flush (lane, id, at) SELECT $1::int, 1, $2 UNION ALL SELECT 7, 1, $2", "flush (written): no key"),
        ("UPDATE chunk SET lane = $2 WHERE lane = $1::int", "the key of chunk is changed [5]"),
        (
            "UPDATE chunk SET not_before = clock_timestamp() WHERE lane = $1::int",
            "clock_timestamp() in a change of chunk [11]",
        ),
        ("UPDATE run SET priority = random() WHERE id = $1", "random() in a change of run [11]"),
        (
            "INSERT INTO carrier (lane) VALUES ($1) ON CONFLICT (lane) DO UPDATE SET created_at = now()",
            "now() in ON CONFLICT",
        ),
        (
            "INSERT INTO carrier (lane) VALUES ($1) ON CONFLICT (lane) DO UPDATE SET created_at = current_timestamp",
            "the time in ON CONFLICT",
        ),
        ("SELECT 1 FROM chunk k JOIN worker w ON w.instance = k.owner WHERE k.lane = $1::int", "local and distributed"),
        (
            "SELECT 1 FROM chunk k, endpoint e WHERE k.lane = $1::int AND e.bucket = $1::int",
            "tables of different groups",
        ),
        (
            "SELECT pg_notify('a', lane::text) FROM chunk WHERE lane = $1::int",
            "NOTIFY where a distributed table is read",
        ),
        ("WITH RECURSIVE a AS (SELECT 1) SELECT 1 FROM chunk WHERE lane = $1::int", "WITH RECURSIVE [32]"),
        ("SELECT count(*) FROM chunk WHERE lane = $1::int GROUP BY ROLLUP (state, class)", "GROUPING SETS [32]"),
        ("MERGE INTO chunk k USING run r ON k.run = r.id WHEN MATCHED THEN DO NOTHING", "MERGE [25]"),
        ("DELETE FROM run WHERE id = 1; DELETE FROM run WHERE id = 2", "expected one statement, found 2 [54]"),
    ],
)
def test_a_statement_that_breaks_a_rule_is_found(sql: str, fault: str) -> None:
    assert any(fault in one for one in faults_of(sql)), faults_of(sql)


def test_a_report_may_ask_every_lane_and_joins_by_it() -> None:
    joined = "SELECT 1 FROM outcome o JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id WHERE k.run = $1"
    assert faults_of_all_lanes(joined) == [] and len(faults_of(joined)) == 2
    apart = "SELECT 1 FROM outcome o JOIN chunk k ON k.id = o.chunk_id WHERE k.run = $1"
    assert faults_of_all_lanes(apart) == [
        "outcome as o: not joined by its key [27]",
        "chunk as k: not joined by its key [27]",
    ]


def test_a_name_of_a_with_is_no_table_and_a_subquery_has_its_own_lane() -> None:
    sql = "WITH chunk AS (SELECT 1 AS id) SELECT 1 FROM chunk WHERE EXISTS (SELECT FROM run WHERE id = $1)"
    assert faults_of(sql) == [] and look(sql).tables == {"run"}
    assert (
        faults_of(
            "DELETE FROM inbound WHERE lane = $1::int AND id = ANY(ARRAY(SELECT id FROM inbound WHERE lane = $1::int))"
        )
        == []
    )


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("CREATE TABLE other (id int)", "other: it has no place"),
        ("CREATE TABLE a PARTITION OF b DEFAULT", "a: it has no place"),
        ("CREATE TABLE chunk (lane bigint NOT NULL, CONSTRAINT a PRIMARY KEY (lane))", "expected int, found int8 [2]"),
        ("CREATE TABLE chunk (lane int, CONSTRAINT a CHECK (lane > 0))", "the key is NOT NULL [5]"),
        ("CREATE TABLE chunk (id int NOT NULL)", "it has no column lane [1]"),
        (
            "CREATE TABLE chunk (lane int NOT NULL, id bigint, CONSTRAINT a PRIMARY KEY (id, lane))",
            "expected lane first, found id [1]",
        ),
        (
            "CREATE TABLE chunk (lane int NOT NULL, id bigint, CONSTRAINT a UNIQUE (id))",
            "expected lane first, found id [1]",
        ),
        (
            "CREATE TABLE chunk (lane int NOT NULL, id bigint, PRIMARY KEY (lane, id))",
            "a constraint without a name [61]",
        ),
        ("CREATE TABLE chunk (lane int NOT NULL, id int GENERATED BY DEFAULT AS IDENTITY)", "a bigint identity [10]"),
        ("CREATE TABLE worker (id bigserial)", "a bigint identity [10]"),
        ("CREATE TABLE run (id bigint CONSTRAINT a PRIMARY KEY)", "a constraint has a name and stands by itself [61]"),
        (
            "CREATE TABLE chunk (lane int NOT NULL, CONSTRAINT a FOREIGN KEY (lane) REFERENCES worker (id))",
            "a foreign key to worker [6]",
        ),
        ("CREATE UNIQUE INDEX a ON chunk (id, lane)", "a: expected lane first [1]"),
        ("CREATE INDEX CONCURRENTLY a ON outcome (lane)", "CONCURRENTLY on a partitioned table [60]"),
        ("ALTER TABLE run ADD COLUMN a int, ADD COLUMN b int", "2 changes in one ALTER TABLE [61]"),
        ("ALTER TABLE chunk ADD COLUMN a int CONSTRAINT b CHECK (a > 0)", "a column is added without its constraints"),
        (
            "ALTER TABLE chunk ALTER COLUMN a SET STORAGE EXTERNAL",
            "STORAGE and STATISTICS are set where the table is made",
        ),
        ("CREATE TRIGGER a AFTER INSERT ON chunk EXECUTE FUNCTION b()", "CreateTrigStmt"),
        ("CREATE RULE a AS ON INSERT TO chunk DO INSTEAD NOTHING", "RuleStmt"),
        ("UPDATE chunk SET not_before = clock_timestamp()", "clock_timestamp() in a change of chunk [11]"),
    ],
)
def test_a_migration_that_breaks_a_rule_is_found(sql: str, fault: str) -> None:
    assert any(fault in one for one in faults_of_migration([sql])), faults_of_migration([sql])

"""Which table stands where when one Postgres becomes a Citus cluster, and the calls that bring it there.

    distributed   rows of one key value on one node; tables of a group keep the same value together
    reference     a full copy on every node: small, joined by all, written seldom, and only while every node is up
    local         on the coordinator alone: listened to, leased, or needed while a node is down

`PLACES` is the one list; tests hold every CREATE TABLE of the migrations, every DO block in them and every statement of
this room to it. On one plain Postgres nothing here does anything.

`distribute` asks the cluster what it has, and calls for what is missing: what is done already is left alone, so a call
that broke off is begun again. Rows that were there before move to the nodes. A table that stands otherwise than it
should is never moved by itself, for that takes it away from everybody meanwhile.

Not here: making the extension (each node needs it before), adding nodes, moving shards.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from gateway.errors import StoreError
from gateway.store.postgres import Connection, close, connect, deadline

# The rows of a table are copied within the one statement; a lock that is waited for makes everybody behind it wait.
STATEMENT_TIMEOUT_S = 3600.0
LOCK_TIMEOUT_S = 5.0

HAS_CITUS = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')"
# partmethod h: by hash of a column; n: without one, which repmodel t makes a reference table. A partition has its
# parent's place and is not named.
_FOUND = """
SELECT p.logicalrelid::regclass::text AS name, p.partmethod::text AS method, p.repmodel::text AS model,
       CASE WHEN p.partkey IS NULL THEN '' ELSE column_to_column_name(p.logicalrelid, p.partkey) END AS key,
       p.colocationid AS colocation
FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid
WHERE NOT c.relispartition ORDER BY 1
"""


class Place(Struct, frozen=True):
    """Where a table stands; of a distributed one its key column and the table whose group it is in."""

    kind: Literal["distributed", "reference", "local"]
    key: str = ""
    group: str = ""

    def __str__(self) -> str:
        return f"distributed by {self.key}" if self.key else f"a {self.kind} table"


class Found(Struct, frozen=True):
    """What a cluster says of a table; `colocation` is the number of its group there."""

    place: Place
    colocation: int


REFERENCE = Place("reference")
LOCAL = Place("local")
BY_LANE = Place("distributed", "lane", "chunk")
BY_BUCKET = Place("distributed", "bucket", "endpoint")

# In the order of the calls: the first table of a group makes it.
PLACES: dict[str, Place] = {
    "carrier": REFERENCE,
    "run": REFERENCE,
    "contact_list": REFERENCE,
    "suppression": REFERENCE,
    "attribute_kind": REFERENCE,
    "event_property_kind": REFERENCE,
    "chunk": BY_LANE,
    "chunk_payload": BY_LANE,
    "outcome": BY_LANE,
    "receipt": BY_LANE,
    "receipt_waiting": BY_LANE,
    "receipt_habit": BY_LANE,
    "orphan_receipt": BY_LANE,
    "repeated": BY_LANE,
    "transfer": BY_LANE,
    "result": BY_LANE,
    "counter": BY_LANE,
    "inbound": BY_LANE,
    "inbound_message": BY_LANE,
    "inbound_part": BY_LANE,
    "inbound_seen": BY_LANE,
    "event": BY_LANE,
    "event_number": BY_LANE,
    "flush": BY_LANE,
    "endpoint": BY_BUCKET,
    "list_entry": BY_BUCKET,
    "profile": BY_BUCKET,
    "identity": BY_BUCKET,
    "person_event": BY_BUCKET,
    "event_seen": BY_BUCKET,
    "event_total": BY_BUCKET,
    "person_order": BY_BUCKET,
    "session_open": BY_BUCKET,
    "person_changed": BY_BUCKET,
    "audience_member": BY_BUCKET,
    "audience_change": BY_BUCKET,
    "list_change": BY_BUCKET,
    "rfm": BY_BUCKET,
    "brand": REFERENCE,
    "tag": REFERENCE,
    "zone": REFERENCE,
    "source_row": BY_BUCKET,
    "consent_page": BY_BUCKET,
    "contact_page": BY_BUCKET,
    "run_skipped": BY_BUCKET,
    "return_upto": BY_LANE,
    "consent": BY_BUCKET,
    "consent_head": BY_BUCKET,
    "consent_state": BY_BUCKET,
    "strike": BY_BUCKET,
    "conversation": BY_BUCKET,
    "conversation_message": BY_BUCKET,
    "open_question": BY_BUCKET,
    "conversation_owed": BY_BUCKET,
    "text_order": BY_BUCKET,
    "conversation_sent": BY_LANE,
    "block_upto": BY_LANE,
    "assignment": BY_BUCKET,
    "cause": BY_BUCKET,
    "enrolment": BY_BUCKET,
    "step_run": BY_BUCKET,
    "excepted": BY_BUCKET,
    "outgoing": BY_BUCKET,
    "person_owed": BY_BUCKET,
    "outgoing_taken": BY_LANE,
    "unsend": BY_LANE,
    "unwanted": BY_BUCKET,
    "outgoing_place": BY_LANE,
    "campaign": LOCAL,
    "campaign_version": LOCAL,
    "campaign_run": LOCAL,
    "campaign_tick": LOCAL,
    "listened": LOCAL,
    "webhook_call": LOCAL,
    "link": BY_BUCKET,
    "click": BY_BUCKET,
    "page_entry": BY_BUCKET,
    "touch": BY_BUCKET,
    "attribution": BY_BUCKET,
    "conversion": BY_BUCKET,
    "report_due": BY_BUCKET,
    "message_day": BY_LANE,
    "schema_version": LOCAL,
    "worker": LOCAL,
    "bind_slot": LOCAL,
    "job": LOCAL,
    "control": LOCAL,
    "audit": LOCAL,
    "capture_request": LOCAL,
    "capture": LOCAL,
    "stop_head": LOCAL,
    "stop_feed": LOCAL,
    "stop_fenced": LOCAL,
    "suppression_upto": LOCAL,
    "consent_upto": LOCAL,
    "person_feed": LOCAL,
    "bucket_gate": LOCAL,
    "replying_begin": LOCAL,
    "replying_upto": LOCAL,
    "keyword_trigger": LOCAL,
    "event_file": LOCAL,
    "erasure_key": LOCAL,
    "import_file": LOCAL,
    "source": LOCAL,
    "audience": LOCAL,
    "audience_salt": LOCAL,
    "rfm_version": LOCAL,
    "experiment": LOCAL,
    "experiment_version": LOCAL,
    "product": REFERENCE,
    "product_pair": REFERENCE,
    "shop": REFERENCE,
    "coupon_told": BY_BUCKET,
    "coupon_pool": LOCAL,
    "coupon": LOCAL,
    "coupon_run": LOCAL,
    "coupon_list": LOCAL,
    "coupon_use": LOCAL,
    "link_target": LOCAL,
    "page": LOCAL,
    "rate_plan": LOCAL,
    "report_upto": LOCAL,
    "report_terms": LOCAL,
    "campaign_goal": LOCAL,
    "template": LOCAL,
    "test_number": LOCAL,
}


def call_of(name: str) -> str:
    """Write the call that brings one table to its place; "" for a local one."""
    place = PLACES[name]
    if place.kind == "reference":
        return f"SELECT create_reference_table('{name}')"
    if place.kind == "distributed":
        # 'none' and not the default, which puts every table with a key of the same type into one group by chance.
        group = "none" if place.group == name else place.group
        return f"SELECT create_distributed_table('{name}', '{place.key}', colocate_with => '{group}')"
    return ""


def calls(found: Mapping[str, Found]) -> list[str]:
    """Write the calls for what is missing in a cluster, in their order.

    raises  StoreError: a table stands otherwise than it should, with what to do about it
    """
    missing = []
    for name, place in PLACES.items():
        has = found.get(name)
        if has is None:
            if call := call_of(name):
                missing.append(call)
        elif has.place.kind != place.kind or has.place.key != place.key:
            raise StoreError(
                f"{name}: expected {place}, found {has.place}: with every worker stopped, "
                f"SELECT undistribute_table('{name}'), and repeat"
            )
        elif place.group and place.group in found and has.colocation != found[place.group].colocation:
            raise StoreError(
                f"{name}: expected in the group of {place.group}, found in another: with every worker stopped, "
                f"SELECT alter_distributed_table('{name}', colocate_with => '{place.group}'), and repeat"
            )
    return missing


def found_of(rows: Iterable[Mapping[str, object]]) -> dict[str, Found]:
    """Read what pg_dist_partition says, by table."""
    found = {}
    for row in rows:
        if row["method"] == "n":
            place = REFERENCE if row["model"] == "t" else LOCAL
        else:
            place = Place("distributed", str(row["key"]))
        found[str(row["name"])] = Found(place, int(str(row["colocation"])))
    return found


async def is_spread(connection: Connection) -> bool:
    """Whether tables may stand on several servers."""
    return bool(await connection.fetchval(HAS_CITUS))


async def missing(dsn: str) -> tuple[bool, list[str]]:
    """Name the calls that `distribute` would make, and say whether the database has citus; changes nothing.

    raises  StoreError as `calls` does, or the database is away
    """
    connection = await connect(dsn, application_name="sluice migrate")
    try:
        return await _missing(connection)
    finally:
        await close(connection)


async def distribute(dsn: str, *, statement_timeout_s: float = STATEMENT_TIMEOUT_S) -> list[str]:
    """Make the calls that are missing, one transaction each; -> those made. The schema must be up to date.

    raises  StoreError: the database has no citus; a table stands otherwise than it should; what the cluster says
    cost    every row that is there is copied once, and its table is locked meanwhile
    """
    connection = await connect(
        dsn,
        application_name="sluice migrate",
        statement_timeout_s=statement_timeout_s,
        settings={"lock_timeout": str(round(LOCK_TIMEOUT_S * 1000))},
    )
    try:
        has_citus, todo = await _missing(connection)
        if not has_citus:
            raise StoreError(
                "expected the extension citus in this database, found none: a plain Postgres needs no distribution; "
                "on a cluster run CREATE EXTENSION citus in this database on every node"
            )
        for call in todo:
            async with deadline(connection, statement_timeout_s + 10, call):
                await connection.execute(call)
        return todo
    finally:
        await close(connection)


async def is_distributed(connection: Connection, table: str) -> bool:
    """Say whether a table is spread over nodes."""
    if not await connection.fetchval(HAS_CITUS):
        return False
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = $1::text::regclass)", table
        )
    )


async def _missing(connection: Connection) -> tuple[bool, list[str]]:
    async with deadline(connection, 10.0, "placement"):
        has_citus = bool(await connection.fetchval(HAS_CITUS))
        rows = await connection.fetch(_FOUND) if has_citus else []
    return has_citus, calls(found_of(dict(row) for row in rows))

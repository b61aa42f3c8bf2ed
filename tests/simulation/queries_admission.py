"""What the gate asks and tells: buckets held, pages of consent and contacts, chunks that wait (sql/admission.sql)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.copyoctets import write_records
from tests.simulation.queries import Result, columns_of, model, nameless, rows_of, upsert
from tests.simulation.queries_queue import CLAIMED, DONE, READY
from tests.simulation.tables import Transaction, Values, Waiting

CONTACT = ("bucket", "page", "at", "run", "kind", "class", "brand", "priority", "sender", "tags", "numbers")
CONTACT_TYPES = (
    "int", "int", "timestamptz", "bigint", "smallint", "smallint", "smallint", "smallint", "int", "bigint", "bytea",
)  # fmt: skip


@model("hold_buckets", "bucket")
def hold_buckets(tx: Transaction, buckets: Sequence[int]) -> Waiting:
    """Hold buckets of people, in order."""
    held = yield from tx.lock(rows_of(tx, "bucket_gate", ((bucket,) for bucket in sorted(set(buckets)))))
    return [(row.old["bucket"],) for row in held]


@model("consent_pages", "string_agg")
def consent_pages(
    tx: Transaction, buckets: Sequence[int], firsts: Sequence[int], lasts: Sequence[int], brand: str
) -> Result:
    """Read the consent pages of some spans of pages."""
    get = tx.table("consent_page").get
    spans = zip(buckets, firsts, lasts, strict=True)
    places = [(bucket, page) for bucket, first, last in spans for page in range(first, last + 1)]
    found = [one for place in places if (one := get(tx, *place, brand)) is not None]
    rows = columns_of(found, "bucket", "page", "numbers", "states", "zones")
    return [(write_records(rows, ("int", "int", "bytea", "bytea", "bytea")) or None,)]


@model("gates", "id", "gate")
def gates(tx: Transaction, ids: Sequence[int]) -> Result:
    """Read what some runs ask of everybody."""
    rows = [one for id_ in ids if (one := tx.table("run").get(tx, id_)) is not None and one["gate"] is not None]
    return columns_of(rows, "id", "gate")


@model("live_gates", "id", "class", "priority", "lanes", "not_before", "gate", "is_enqueued")
def live_gates(tx: Transaction, run_id: int, now: datetime) -> Result:
    """Read what the other runs with a list and a gate ask that are not over, or that are about to be enqueued."""
    return [
        (*(one[name] for name in ("id", "class", "priority", "lanes", "not_before", "gate")), bool(one["enqueued_at"]))
        for _, one in tx.table("run").rows(tx)
        if one["gate"] is not None and one["list"] is not None and one["id"] != run_id
        and (one["expires_at"] is None or one["expires_at"] > now) and one["cancelled_at"] is None
        and (one["enqueued_at"] is not None or one["created_at"] > now - timedelta(hours=1))
    ]  # fmt: skip


@model("contact_pages", "string_agg")
def contact_pages(
    tx: Transaction,
    buckets: Sequence[int],
    firsts: Sequence[int],
    lasts: Sequence[int],
    since: datetime,
    until: datetime,
) -> Result:
    """Read who of some spans of pages was written to, or is to be."""
    table = tx.table("contact_page")
    found = [
        one
        for bucket, first, last in zip(buckets, firsts, lasts, strict=True)
        for page in range(first, last + 1)
        for _, one in table.group(tx, ("bucket", "page"), bucket, page)
        if since <= one["at"] <= until
    ]
    return [(write_records(columns_of(found, *CONTACT), CONTACT_TYPES) or None,)]


@model("why_suppressed", "number", "source")
def why_suppressed(tx: Transaction, numbers: Sequence[int], scopes: Sequence[str]) -> Result:
    """Read what suppresses some numbers: the first word that is in force."""
    table, feed = tx.table("suppression"), tx.table("stop_feed")
    found = []
    for number in sorted(set(numbers)):
        words = []
        for scope in set(scopes):
            named = {"number": number, "scope": scope}
            word = table.get(tx, *(named[name] for name in table.shape.key))
            if word is not None and (entry := feed.get(tx, word["since"])) is not None:
                words.append((word["since"], entry["source"]))
        if words:
            found.append((number, min(words)[1]))
    return found


@model("name_id", "id")
def name_id(tx: Transaction, kind: str, name: str) -> Result:
    """Read the small number of a name."""
    return [(one["id"],) for _, one in tx.table(kind).rows(tx) if one["name"] == name]


def _add(kind: str, first: int) -> Any:
    def add(tx: Transaction, name: str) -> Waiting:
        """Give a name the next number."""
        id_ = max((one["id"] for _, one in tx.table(kind).rows(tx)), default=first - 1) + 1
        made, _ = yield from tx.insert(kind, {"id": id_, "name": name}, on_conflict="keep")
        return int(made is not None)

    return add


add_brand = model("add_brand", tag="INSERT")(_add("brand", 1))
add_tag = model("add_tag", tag="INSERT")(_add("tag", 0))
add_zone = model("add_zone", tag="INSERT")(_add("zone", 1))


@model("note_data", tag="INSERT")
def note_data(tx: Transaction, at: datetime, by: str, about: str, said: str, since: datetime) -> Waiting:
    """Write down by which data a run is decided about, once."""
    values = {"action": "data", "about": about, "reason": said}
    for _, one in tx.table("audit").rows(tx):
        if one["at"] >= since and all(one[name] == value for name, value in values.items()):
            return 0
    yield from tx.insert("audit", {**values, "at": at, "by": by})
    return 1


@model("zone_names", "id", "name")
def zone_names(tx: Transaction) -> Result:
    """Name every zone."""
    return columns_of([one for _, one in tx.table("zone").rows(tx)], "id", "name")


@model("put_off", "id", tag="UPDATE")
def put_off(
    tx: Transaction,
    lane: int,
    ids: Sequence[int],
    epochs: Sequence[int],
    upto: Sequence[int],
    until: Sequence[datetime],
) -> Waiting:
    """Give chunks back until their moment."""
    wanted = {(a, b): (c, d) for a, b, c, d in zip(ids, epochs, upto, until, strict=True)}

    def is_ours(one: Values) -> bool:
        return one["state"] == CLAIMED and (one["id"], one["epoch"]) in wanted

    def new(one: Values) -> Values:
        mark, moment = wanted[one["id"], one["epoch"]]
        return {
            "state": DONE if mark >= one["n"] else READY, "sent_upto": mark, "not_before": moment, "owner": None,
        }  # fmt: skip

    rows = rows_of(tx, "chunk", ((lane, chunk_id) for chunk_id in dict.fromkeys(ids)))
    return columns_of((yield from tx.update(rows, is_ours, new)), "id")


@model("persons_talk", "number", "inbox", "closed_at")
def persons_talk(tx: Transaction, buckets: Sequence[int], since: datetime) -> Result:
    """Nobody talks with people of ours here."""
    return []


@model("set_aside", "chunk_id", "positions")
def set_aside(tx: Transaction, lane: int, ids: Sequence[int]) -> Result:
    """Read which positions of chunks go on in others."""
    found: dict[int, list[int]] = {}
    for chunk_id in dict.fromkeys(ids):
        for _, one in tx.table("repeated").group(tx, ("lane", "chunk_id"), lane, chunk_id):
            found.setdefault(chunk_id, []).append(one["pos"])
    return list(found.items())


@model("origins", "id", "repeats", "from_lane")
def origins(tx: Transaction, lane: int, ids: Sequence[int]) -> Result:
    """Read what copies were made of."""
    found = [one for chunk_id in ids if (one := tx.table("chunk").get(tx, lane, chunk_id)) is not None]
    return columns_of([one for one in found if one["repeats"] is not None], "id", "repeats", "from_lane")


@model("wait_chunk", tag="UPDATE")
def wait_chunk(tx: Transaction, lane: int, chunk_id: int, until: datetime) -> Waiting:
    """Let a chunk wait until its moment."""
    rows = rows_of(tx, "chunk", [(lane, chunk_id)])
    return len((yield from tx.update(rows, lambda one: True, lambda one: {"not_before": until})))


# -- pages, as tests write them ----------------------------------------------------------------------------------------


@nameless(r"INSERT INTO consent_page \(bucket, page, brand, numbers, states, zones\) .* ON CONFLICT", tag="INSERT")
def _set_consent(
    tx: Transaction, bucket: int, page: int, brand: str, numbers: bytes, states: bytes, zones: bytes
) -> Waiting:
    values = {"bucket": bucket, "page": page, "brand": brand, "numbers": numbers, "states": states, "zones": zones}
    yield from upsert(tx, "consent_page", values, lambda before: {"numbers": numbers, "states": states})
    return 1

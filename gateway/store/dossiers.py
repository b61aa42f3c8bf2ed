"""Everything that is kept of a number, or of a person, in one call (CN-12): what `erasures` would take away.

    who      names, a number, an id ─► places of persons (bucket, id)
    dossier  places and a number ─► persons with what they did, lists, STOPs, contacts, messages, replies

Values are those of the rows. Consent with its proof is the ledger's own (store/consents.py).
Statements: sql/dossiers.sql. Not here: how it is shown (commands/profile.py).
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from _fastpath.gate import page
from gateway.person import Who, bucket_of, hash_of
from gateway.store import postgres, traces
from gateway.store.columns import ints, texts
from gateway.store.erasures import CHUNKS_A_STEP, STEP_S, forms_of
from gateway.store.postgres import Connection
from gateway.store.queries import query

BUCKETS = 256
# What a person did and has, as the dossier names it -> statement.
OF_PERSON = {
    "events": "dossier_events",
    "totals": "dossier_totals",
    "orders": "dossier_orders",
    "rfm": "dossier_rfm",
    "audiences": "dossier_memberships",
}


async def who(connection: Connection, names: Who, id_: int = 0) -> list[tuple[int, int, int | None]]:
    """Find persons by a number, an identity or an id: (bucket, id, number), the eldest first; [] = nobody."""
    async with postgres.deadline(connection, STEP_S, "who"):
        if id_:
            rows = await connection.fetch(query("places_of_id"), id_, list(range(BUCKETS)))
            return [tuple(row) for row in rows]
        if names.phone:
            rows = await connection.fetch(
                query("profiles_of_numbers"), ints([hash_of(names.phone)]), ints([names.phone])
            )
            return [tuple(row) for row in rows]
        found = []
        for key in names.keys():
            owners = await connection.fetch(
                query("identities_of"), ints([bucket_of(*key)]), texts([key[0]]), texts([key[1]]), ints([0])
            )
            for _, _, profile in owners:
                found += await who(connection, Who(), profile)
        return found


async def person(connection: Connection, bucket: int, id_: int) -> dict[str, Any]:
    """Read a person, their names and all that they did."""
    async with postgres.deadline(connection, STEP_S, "person"):
        told = await _told(connection, "dossier_profiles", bucket, [id_])
        names = await connection.fetch(query("identities_of_profile"), id_)
        found = {**(told[0] if told else {}), "identities": [dict(row) for row in names]}
        for name, statement in OF_PERSON.items():
            found[name] = await _told(connection, statement, bucket, id_)
    return found


async def dossier(connection: Connection, number: int, prefixes: Mapping[int, str]) -> dict[str, Any]:
    """Read everything that is kept of a number.

    prefixes  the lanes, each with the country that its carrier's national numbers are of
    cost      the payload of every chunk is read once: about 0.1 s for a million messages
    """
    bucket, octets = hash_of(number), number.to_bytes(8, "big")
    persons = [await person(connection, place, id_) for place, id_, _ in await who(connection, Who(phone=number))]
    async with postgres.deadline(connection, STEP_S, "dossier"):
        lists = [row["id"] for row in await connection.fetch(query("all_lists"))]
        found = {
            "persons": persons,
            "endpoint": await _told(connection, "dossier_endpoint", bucket, number),
            "lists": await _told(connection, "dossier_entries", bucket, number, lists),
            "list_changes": await _told(connection, "dossier_list_changes", bucket, number, lists),
            "stops": await _told(connection, "dossier_stops", number),
            "coupons": await _told(connection, "dossier_coupons", number),
            "contacts": await _told(connection, "dossier_contacts", bucket, page(number), octets),
            "links": await _told(connection, "dossier_links", bucket, number),
            "clicks": await _told(connection, "dossier_clicks", bucket, number),
            "page_entries": await _told(connection, "dossier_page_entries", bucket, number),
            "skipped": await _told(connection, "dossier_skipped", bucket, octets),
            "conversations": await _told(connection, "dossier_conversations", bucket, number),
            "said": await _told(connection, "dossier_said", bucket, number),
            "questions": await _told(connection, "dossier_questions", bucket, number),
        }
    found["replies"] = []
    found["messages"] = []
    for lane, prefix in sorted(prefixes.items()):
        async with postgres.deadline(connection, STEP_S, f"dossier on lane {lane}"):
            found["replies"] += await _told(connection, "dossier_inbound", lane, forms_of(number, prefix))
        behind = -1
        while True:
            async with postgres.deadline(connection, STEP_S, f"dossier on lane {lane}"):
                upto = await connection.fetchval(query("payload_page"), lane, behind, CHUNKS_A_STEP)
                if upto is None:
                    break
                rows = await connection.fetch(query("payload_places"), lane, behind, upto, [number])
                for row in rows:
                    story = await traces.story(connection, lane, row["chunk_id"], row["pos"])
                    if story is not None:
                        found["messages"].append(msgspec.to_builtins(story))
            behind = upto
    return found


async def _told(connection: Connection, name: str, *arguments: Any) -> list[dict[str, Any]]:
    return [msgspec.json.decode(row["told"]) for row in await connection.fetch(query(name), *arguments)]

"""A running worker hands out what its binds keep of the wire, however it is asked, and asks nothing of anybody."""

import uuid
from pathlib import Path

import pytest

from gateway import app
from gateway.simulator.behaviour import Receipts, Responses
from gateway.smpp import capture
from gateway.smpp.pdu import CARRIER, decode
from gateway.store import captures
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import Engine, engine, until
from tests.oracle import pcap as oracle


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


async def asked(e: Engine, workers: int = 1, **how: object) -> list[captures.Answer]:
    """Ask, and wait for so many workers."""
    wanted = {"carrier": "acme", "place": None, "redacts": False} | how
    request = captures.Request(id=uuid.uuid4(), **wanted)  # type: ignore[arg-type]
    await captures.ask(e.connection, request, app.CLOCK.wall())

    async def is_answered() -> bool:
        return len(await captures.done(e.connection, request)) == workers

    await until(is_answered, "every worker has answered")
    return await captures.answers(e.connection, request)


async def test_octets_of_a_run_are_handed_out_as_streams_that_can_be_read(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, receipts=Receipts(delay_ms=1)) as e:
        e.carrier_settings = {"password": "pa55word", "binds": 2}
        await e.start()
        run = await e.run(numbers(60))
        await e.ends(run)
        answers = await asked(e)
        assert [answer.bind for answer in answers] == ["acme#1", "acme#2"]
        commands: dict[str, int] = {}
        addressed = set()
        for answer in answers:
            assert b"pa55word" not in answer.octets
            tape = capture.unpack(answer.octets)
            said = oracle.streams(oracle.segments(capture.pcap_of(tape)))
            ours, theirs = said
            assert theirs == ours[::-1]
            assert ours[1] == ("127.0.0.1", e.port) and ours[0][0] == "127.0.0.1" and ours[0][1] != e.port
            pdus = capture.pdus_of(tape)
            assert b"".join(one.octets for one in pdus if one.is_out) == said[ours]
            for one in pdus:
                pdu = decode(one.octets, CARRIER)
                commands[pdu.command] = commands.get(pdu.command, 0) + 1
                if pdu.command == "submit_sm":
                    addressed.add(int(pdu.fields["destination_addr"]))
            moments = [one.at for one in pdus]
            assert moments == sorted(moments) and abs(moments[0] - app.CLOCK.wall().timestamp()) < 60
        assert addressed == set(numbers(60))
        assert {name: commands[name] for name in ("bind_transceiver", "submit_sm", "submit_sm_resp", "deliver_sm")} == {
            "bind_transceiver": 2, "submit_sm": 60, "submit_sm_resp": 60, "deliver_sm": 60,
        }  # fmt: skip


async def test_one_bind_alone_is_handed_out_and_redacted_where_that_is_asked(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, receipts=Receipts(delay_ms=1)) as e:
        e.carrier_settings = {"binds": 2}
        await e.start()
        await e.ends(await e.run(numbers(40), template="Secret words"))
        submits = []
        for place in (1, 2):
            (answer,) = await asked(e, place=place, redacts=True)
            assert answer.bind == f"acme#{place}"
            pdus = [decode(one.octets, CARRIER) for one in capture.pdus_of(capture.unpack(answer.octets))]
            submits += [pdu for pdu in pdus if pdu.command == "submit_sm"]
        assert len(submits) == 40
        assert {pdu.fields["short_message"] for pdu in submits} == {b"*" * 12}
        assert {pdu.fields["destination_addr"] for pdu in submits} == {"44770090****"}
        assert await asked(e, carrier="another") == []


async def test_ring_goes_on_over_a_new_connection(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=1)) as e:
        worker = await e.start()
        (lane,) = worker.lanes
        (bind,) = lane.carrier.binds
        await until(lambda: bind.is_bound, "bound")
        assert bind.link is not None
        bind.link.abort("cut")
        await until(lambda: bind.is_bound and bind.binds == 2, "bound again")
        (answer,) = await asked(e)
        tape = capture.unpack(answer.octets)
        assert list(tape.ends) == [1, 2]
        said = oracle.streams(oracle.segments(capture.pcap_of(tape)))
        assert len([way for way in said if way[1][1] == e.port]) == 2
        binds = [one for one in capture.pdus_of(tape) if decode(one.octets, CARRIER).command == "bind_transceiver"]
        assert [one.connection for one in binds] == [1, 2]


async def test_carrier_that_keeps_nothing_answers_with_nothing(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        e.carrier_settings = {"pcap_octets": 0}
        await e.start()
        assert await asked(e) == []


async def test_door_opens_again_when_postgres_has_cut_it_off(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        worker = await e.start()
        assert len(await asked(e)) == 1
        await e.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE '%capture%' AND pid <> pg_backend_pid()"
        )
        assert len(await asked(e)) == 1
        assert worker.failed is not None and not worker.failed.done()

"""TLS towards real handshakes: who is believed, what a failure tells a person, and that it carries a load."""

import ssl

import pytest

from gateway.config import CarrierSettings
from gateway.errors import TlsFault
from gateway.smpp import tls
from tests.fixtures.carriers import add, all_bound, outcomes
from tests.fixtures.now import until
from tests.fixtures.tls_door import CA, pem


def secured(**settings):
    return CarrierSettings(host="smsc.example", tls=True, **settings)


async def alarm_of(carrier):
    """Wait for the first failure that asks for a person; -> what it says."""
    await until(lambda: carrier.binds[0].alarm, "the alarm")
    report = carrier.reports()[0]
    assert report.alarm == report.last_error and report.phase == "down"
    return report.alarm


# -- who is believed --------------------------------------------------------------------------------------------------


async def test_bind_over_tls_with_the_name_that_was_asked_for(esme, smsc, tls_door):
    door = await tls_door((await smsc()).port)
    carrier = esme(door.port, tls=True, tls_ca_file=CA, tls_server_name="smsc.example")
    await all_bound(carrier)
    assert door.names == ["smsc.example"] and door.versions == ["TLSv1.3"]


async def test_address_is_enough_where_the_certificate_names_it(esme, smsc, tls_door):
    door = await tls_door((await smsc()).port)
    await all_bound(esme(door.port, tls=True, tls_ca_file=CA))


@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        ("intruder", "signed by nobody we trust: tls_ca_file"),
        ("expired", "has expired"),
        ("other", "is for another name than 127.0.0.1: ask the carrier which, and say it as tls_server_name"),
    ],
)
async def test_certificate_that_is_no_good_is_refused_and_says_who_must_do_what(
    esme, smsc, tls_door, certificate, said
):
    door = await tls_door((await smsc()).port, certificate)
    carrier = esme(door.port, tls=True, tls_ca_file=CA, refused_pause_s=600.0)
    assert said in await alarm_of(carrier)


@pytest.mark.parametrize("certificate", ["intruder", "expired", "other"])
async def test_any_certificate_will_do_where_nobody_looks_at_it(esme, smsc, tls_door, certificate):
    door = await tls_door((await smsc()).port, certificate)
    await all_bound(esme(door.port, tls=True, tls_verify=False))


async def test_smsc_that_asks_for_a_certificate_gets_ours(esme, smsc, tls_door):
    door = await tls_door((await smsc()).port, wants_certificate=True)
    await all_bound(esme(door.port, tls=True, tls_ca_file=CA, tls_certificate_file=pem("client")))


def heard(settings, certificate="smsc", *, wants_certificate=False, most=None):
    """Shake hands in memory, with every alert that an SMSC sends; -> the error at our end, explained."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem(certificate))
    if wants_certificate:
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(CA)
    if most is not None:
        server.set_ciphers("DEFAULT:@SECLEVEL=0")
        server.minimum_version = server.maximum_version = most
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = tls.context_of(settings).wrap_bio(theirs, ours, server_hostname="smsc.example")
    server_side = server.wrap_bio(ours, theirs, server_side=True)
    for _ in range(8):
        for side in (client_side, server_side):
            try:
                side.do_handshake()
                side.read(1)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                if side is client_side:
                    return tls.explain(error, settings, "smsc.example")
    raise AssertionError("the handshake went well")


@pytest.mark.parametrize("most", [None, ssl.TLSVersion.TLSv1_2])
@pytest.mark.parametrize(("ours", "said"), [("", "wants a certificate of ours"), ("intruder", "refuses us: ")])
def test_smsc_that_does_not_get_the_certificate_it_asks_for_says_so(most, ours, said):
    settings = secured(tls_ca_file=CA, tls_certificate_file=pem(ours) if ours else "")
    fault = heard(settings, wants_certificate=True, most=most)
    assert said in str(fault) and fault.needs_person


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_older_than_1_2_is_refused():
    fault = heard(secured(tls_ca_file=CA), most=ssl.TLSVersion.TLSv1_1)
    assert "speaks no TLS 1.2 or newer" in str(fault) and fault.needs_person


# -- a port that is something else ------------------------------------------------------------------------------------


async def test_peer_without_tls_is_named(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port, tls=True, tls_ca_file=CA, refused_pause_s=600.0)
    peer = await scripted_smsc.accept()
    peer.send("generic_nack", 0, 0x02)
    assert "does not speak TLS at this port: another port, or tls = false" in await alarm_of(carrier)


async def test_peer_that_hangs_up_in_the_handshake_is_tried_again_with_a_hint(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port, tls=True, tls_ca_file=CA)
    (await scripted_smsc.accept()).reset()
    await scripted_smsc.accept()
    assert "during the handshake" in carrier.binds[0].last_error and not carrier.binds[0].alarm


async def test_mute_peer_is_left_after_the_time_allowed(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port, tls=True, tls_ca_file=CA, connect_timeout_s=0.05)
    await scripted_smsc.accept()
    await scripted_smsc.accept()
    assert "0.05 s" in carrier.binds[0].last_error or "handshake" in carrier.binds[0].last_error


async def test_plain_bind_to_a_port_of_tls_says_so(esme, smsc, tls_door):
    door = await tls_door((await smsc()).port)
    carrier = esme(door.port)
    await until(lambda: carrier.binds[0].last_error, "the failure is known")
    assert carrier.binds[0].binds == 0


# -- proxies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over_tls", [False, True])
async def test_proxies_of_the_environment_mean_nothing(esme, smsc, tls_door, scripted_smsc, monkeypatch, over_tls):
    for name in ("http_proxy", "https_proxy", "all_proxy", "socks_proxy"):
        for variable in (name, name.upper()):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{scripted_smsc.port}")
    port = (await smsc()).port
    if over_tls:
        port = (await tls_door(port)).port
    await all_bound(esme(port, tls=over_tls, tls_ca_file=CA if over_tls else ""))
    assert scripted_smsc.connections == 0


# -- load -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [10, 1000])
async def test_thousands_of_messages_with_receipts_pass_over_tls(esme, smsc, tls_door, window):
    centre = await smsc()
    door = await tls_door(centre.port)
    carrier = esme(door.port, tls=True, tls_ca_file=CA, window=window, binds=2)
    await all_bound(carrier)
    for chunk_id in range(1, 6):
        add(carrier, 1000, chunk_id=chunk_id, receipts=True)
    ledger = carrier.ledger
    await until(lambda: ledger.accepted == 5000, "all are accepted")
    await until(lambda: ledger.receipts_matched + ledger.receipts_waiting == 5000, "all receipts are in")
    assert {outcome.status for outcome in outcomes(carrier)} == {0} and ledger.uncertain == 0
    await carrier.stop()
    assert ledger.uncertain == 0 and centre.totals()["session_unbound"] == 2


async def test_smsc_that_does_not_read_over_tls_stops_us_and_gets_the_rest_when_it_reads(esme, scripted_smsc, tls_door):
    door = await tls_door(scripted_smsc.port)
    carrier = esme(door.port, tls=True, tls_ca_file=CA, window=20_000, response_timeout_s=60.0)
    peer = await scripted_smsc.accept()
    await peer.bind()
    await all_bound(carrier)
    n = 20_000
    add(carrier, n, "x" * 150)
    for _ in range(n):
        submit = await peer.next("submit_sm")
        peer.answer(submit, message_id="1")
    await until(lambda: carrier.ledger.accepted == n, "all are accepted")


# -- what we need for it ----------------------------------------------------------------------------------------------


def test_what_we_offer_is_tls_1_2_and_a_check_of_the_name():
    context = tls.context_of(secured())
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
    assert tls.server_name(secured(), "h") == "h" and tls.server_name(secured(tls_server_name="n"), "h") == "n"


@pytest.mark.parametrize("key", ["tls_ca_file", "tls_certificate_file"])
@pytest.mark.parametrize("is_there", [False, True])
def test_file_that_cannot_be_used_is_named_with_its_setting(tmp_path, key, is_there):
    path = tmp_path / "x.pem"
    if is_there:
        path.write_text("no PEM", encoding="ascii")
    with pytest.raises(TlsFault, match=f"{key} {path}: expected") as caught:
        tls.context_of(secured(**{key: str(path)}))
    assert caught.value.needs_person


async def test_file_that_cannot_be_used_is_an_alarm_of_the_bind(esme, scripted_smsc):
    carrier = esme(scripted_smsc.port, tls=True, tls_ca_file="/nonexistent.pem", refused_pause_s=600.0)
    assert "tls_ca_file /nonexistent.pem" in await alarm_of(carrier)
    assert scripted_smsc.connections == 0

"""Settings of the simulator: read, checked, refused with their key."""

import pytest

from _fastpath.centre import Centre
from gateway.errors import ConfigError
from gateway.simulator import behaviour
from gateway.simulator.behaviour import RECEIPT_FORMATS, RECEIPT_SHAPES, Carrier, Settings, from_mapping

FILE = """
seed = 7
ledger = "x.csv"
[[carrier]]
name = "north"
port = 2775
[[carrier.account]]
system_id = "acme"
password = "secret"
tps = 100
bind_refusals = ["RBINDFAIL", 5]
[carrier.limit]
model = "sliding"
steps = [[1.5, 40]]
[carrier.responses]
errors = { RTHROTTLED = 0.01, "0x45" = 0.02 }
congestion = "load"
[carrier.receipts]
states = { DELIVRD = 0.9, "UNDELIV:050" = 0.1 }
id = "hex"
[[carrier]]
name = "south"
"""


def test_file_with_two_carriers_is_read(tmp_path):
    path = tmp_path / "sim.toml"
    path.write_text(FILE)
    settings = behaviour.load(path)
    arguments = behaviour.centre_arguments(settings.carrier[0], settings)
    assert [carrier.name for carrier in settings.carrier] == ["north", "south"]
    assert arguments["accounts"] == (("acme", 100, 0),) and arguments["errors"] == ((0x58, 0.01), (0x45, 0.02))
    assert arguments["states"] == (("DELIVRD", 2, "000", 0.9), ("UNDELIV", 5, "050", 0.1))
    (shape,) = arguments["shapes"]
    assert shape["receipt_id"] == ("hex", 0) and shape["tlv_id"] == ("decimal", 10)
    assert arguments["congestion"] == 101 and arguments["ledger"] is True


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"carrier": [{"limit": {"model": "fast"}}]}, "carrier[0].limit.model"),
        ({"carrier": [{"port": "x"}]}, "carrier[0].port"),
        ({"carrier": [{"prot": 1}]}, "carrier[0]"),
        ({"sed": 1}, "settings"),
        ({"carrier": []}, "carrier"),
        ({"carrier": [{"account": []}]}, "carrier[0].account"),
        ({"carrier": [{"account": [{}, {}]}]}, "carrier[0].account[0].system_id"),
        ({"carrier": [{"port": 9}, {"port": 9}]}, "carrier[0].port"),
        ({"carrier": [{"responses": {"errors": {"RNOSUCH": 0.1}}}]}, "carrier[0].responses.errors"),
        ({"carrier": [{"responses": {"errors": {"8": 0.6, "9": 0.6}}}]}, "carrier[0].responses.errors"),
        ({"carrier": [{"responses": {"id": "octal"}}]}, "carrier[0].responses.id"),
        ({"carrier": [{"receipts": {"tlv_id": "hex:"}}]}, "carrier[0].receipts.tlv_id"),
        ({"carrier": [{"receipts": {"format": "nosuch"}}]}, "carrier[0].receipts.format"),
        ({"carrier": [{"receipts": {"formats": {"nosuch": 1}}}]}, "carrier[0].receipts.formats"),
        ({"carrier": [{"receipts": {"formats": {"book": 0}}}]}, "carrier[0].receipts.formats"),
        ({"carrier": [{"receipts": {"format": "{idd}"}}]}, "carrier[0].receipts.format"),
        ({"carrier": [{"receipts": {"format": "{id:10}"}}]}, "carrier[0].receipts.format"),
        ({"carrier": [{"receipts": {"states": {}}}]}, "carrier[0].receipts.states"),
        ({"carrier": [{"inbound": {"texts": ["x" * 153 * 256]}}]}, "carrier[0].inbound.texts"),
        ({"carrier": [{"inbound": {"texts": ["x" * 300], "reply_share": 1}}]}, "carrier[0].inbound.texts"),
    ],
)
def test_wrong_setting_is_refused_with_its_key(given, key):
    with pytest.raises(ConfigError) as refused:
        from_mapping(given)
    assert refused.value.problems[0][0] == key
    assert all(len(problem) == 3 for problem in refused.value.problems)


@pytest.mark.parametrize("content", [b"[", b"\xff\xfe", None])
def test_file_that_is_no_toml_is_refused_with_its_name(tmp_path, content):
    path = tmp_path / "sim.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="sim.toml"):
        behaviour.load(path)


@pytest.mark.parametrize("name", RECEIPT_SHAPES)
def test_every_shape_is_taken_by_the_compiled_room(name):
    settings = Settings(carrier=(Carrier(receipts=behaviour.Receipts(formats={name: 0.5, "book": 0.5})),))
    Centre(0, **behaviour.centre_arguments(behaviour.checked(settings).carrier[0], settings))


@pytest.mark.parametrize("name", RECEIPT_FORMATS)
def test_every_named_format_is_taken_by_the_compiled_room(name):

    settings = Settings(carrier=(Carrier(receipts=behaviour.Receipts(format=name)),))
    Centre(0, **behaviour.centre_arguments(behaviour.checked(settings).carrier[0], settings))


def test_statuses_are_read_by_name_and_number():
    assert [behaviour.status_value(s) for s in ("RTHROTTLED", "esme_rsyserr", "0x45", "69", 1)] == [
        0x58,
        8,
        0x45,
        69,
        1,
    ]

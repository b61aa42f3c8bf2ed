"""A run's text and a carrier's settings become a form, or a reason why not."""

from typing import Any

import pytest

from _fastpath.batch import Batch
from _fastpath.outbound import encode_batch
from gateway.config import CarrierSettings
from gateway.dispatch.compose import form_of
from gateway.errors import EncodeError
from gateway.smpp.pdu import decode


def carrier(**settings: Any) -> CarrierSettings:
    return CarrierSettings(host="h", **settings)


def written(template: str, settings: CarrierSettings, values: list[str | None]) -> list[Any]:
    """The submit_sm of one message."""
    batch = Batch.of(1, [447700900000], [values] if values else None)
    batch.dress(form_of(template, settings))
    octets, segments, refused = encode_batch(batch)
    assert not refused
    found = []
    while octets:
        size = int.from_bytes(octets[:4], "big")
        found.append(decode(octets[:size]))
        octets = octets[size:]
    assert len(found) == segments
    return found


def test_settings_of_the_carrier_stand_in_every_message() -> None:
    settings = carrier(
        source="12345", source_ton=2, source_npi=1, dest_ton=0, dest_npi=8, plus=True, service_type="CMT",
        protocol_id=5, priority_flag=2, registered_delivery=0, data_coding={"gsm7": 0xF1},
    )  # fmt: skip
    (pdu,) = written("Hi {{ name }}", settings, ["Ann"])
    expected = {
        "source_addr": "12345", "source_addr_ton": 2, "source_addr_npi": 1, "dest_addr_ton": 0, "dest_addr_npi": 8,
        "destination_addr": "+447700900000", "service_type": "CMT", "protocol_id": 5, "priority_flag": 2,
        "registered_delivery": 0, "data_coding": 0xF1,
    }  # fmt: skip
    assert {key: pdu.fields[key] for key in expected} == expected
    assert pdu.message == b"Hi Ann"


@pytest.mark.parametrize(("concatenation", "segments"), [("udh16", 3), ("udh8", 3), ("sar", 3), ("payload", 1)])
def test_a_long_text_is_cut_as_the_carrier_wants_it(concatenation: Any, segments: int) -> None:
    assert len(written("x" * 400, carrier(concatenation=concatenation), [])) == segments


@pytest.mark.parametrize(
    ("template", "settings", "reason"),
    [
        ("{% if x %}a{% endif %}", {}, "statement"),
        ("{{ x", {}, "not closed"),
        ("{{ x|upper }}", {}, "upper"),
        ("x", {"source": "much too long a sender name"}, "source_addr"),
        ("x", {"source": "Zoë"}, "ASCII"),
        ("x", {"service_type": "TOOLONG"}, "service_type"),
    ],
)
def test_what_cannot_be_composed_is_an_error_with_its_reason(
    template: str, settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(EncodeError, match=reason):
        form_of(template, carrier(**settings))

"""A run's text and a carrier's settings become a form, or a reason why not."""

from typing import Any

import pytest

from _fastpath.batch import Batch
from _fastpath.outbound import encode_batch, explain
from _fastpath.template import Template
from gateway.config import CarrierSettings, TlvSettings
from gateway.countries import code_of
from gateway.dispatch.compose import (
    country_of_batch,
    encoding_of,
    fields_of,
    form_of,
    form_of_text,
    quarters_of,
    required_of,
    savings,
)
from gateway.errors import EncodeError
from gateway.gate import Around
from gateway.message import Encoding
from gateway.smpp.pdu import Tlv, decode


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


@pytest.mark.covers("X.4")
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


@pytest.mark.covers("S0.24", "S1.36")
@pytest.mark.parametrize(
    ("letter", "reference", "alone", "three"),
    [("x", "udh8", 160, 459), ("Ж", "udh8", 70, 201), ("x", "udh16", 160, 456), ("Ж", "udh16", 70, 198)],
)
def test_three_parts_hold_459_septets_or_201_units_and_one_holds_160_or_70(
    letter: str, reference: Any, alone: int, three: int
) -> None:
    """With references of 8 bits; those of 16 bits, the default, take a septet or a unit of each part."""
    way = carrier(concatenation=reference)
    parts = {length: len(written(letter * length, way, [])) for length in (alone, alone + 1, three, three + 1)}
    assert list(parts.values()) == [1, 2, 3, 4], parts


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


def test_what_a_run_asks_for_stands_in_every_message() -> None:
    settings = carrier(class_coding="0xF0", ports="tlv")
    asked = encoding_of('{"flash": true, "destination_port": 2948, "source_port": 1}')
    batch = Batch.of(1, [447700900000])
    batch.dress(form_of("x", settings, (), asked))
    pdu = decode(encode_batch(batch)[0])
    assert pdu.fields["data_coding"] == 0xF0
    assert pdu.tlvs == (Tlv(0x020A, b"\x00\x01"), Tlv(0x020B, b"\x0b\x84"))
    batch.dress(form_of("00ff", carrier(), (), Encoding(binary=True)))
    assert decode(encode_batch(batch)[0]).message == b"\x00\xff"


@pytest.mark.parametrize("text", ['{"blinking": true}', '{"port_bits": 7}', "[]", "{"])
def test_what_only_a_newer_one_can_do_is_refused(text: str) -> None:
    with pytest.raises(EncodeError, match="encoding of the run"):
        encoding_of(text)


def test_fields_of_parameters_follow_those_of_the_text() -> None:
    entity = TlvSettings(tag=0x1400, field="entity_id", required=True)
    template = TlvSettings(tag=0x1401, field="template_id", type="octets", max=4)
    constant = TlvSettings(tag=0x1402, value="7", type="int1")
    settings = carrier(tlvs=(entity, template, constant))
    text = Template("Hi {{ name }}")
    assert fields_of(text, [settings]) == ("name", "entity_id", "template_id")
    assert required_of(text, [settings]) == ("name", "entity_id")
    (pdu,) = written("Hi {{ name }}", settings, ["Ann", "e1", "t1"])
    assert pdu.tlvs == (Tlv(0x1402, b"\x07"), Tlv(0x1400, b"e1\0"), Tlv(0x1401, b"t1"))
    # Chunks of a run that was enqueued for other carriers: what is not required is left out.
    form = form_of("Hi {{ name }}", carrier(tlvs=(template,)), ("name",))
    assert form.columns == 1
    with pytest.raises(EncodeError, match="0x1400.*'entity_id', the run has none"):
        form_of("Hi {{ name }}", settings, ("name",))


def test_zone_is_counted_in_quarter_hours() -> None:
    assert [quarters_of(zone) for zone in ("+00:00", "+05:30", "-03:45", "-12:00")] == [0, 22, -15, -48]


def test_savings_of_transliteration_are_told_before_anything_is_sent() -> None:
    texts = ["“quoted” " * 10, "plain", "“short”", "Привет", 'a "{{ b }}" \\ c', ""]
    found = savings(texts, carrier(transliterate="safe"))
    assert (found.texts, found.changed, found.segments, found.without) == (6, 1, 5, 6)
    assert savings(texts, carrier()).segments == 6


@pytest.mark.parametrize("text", ["{{ a }}", "{% b %}", "{# c #}", 'd "e" \\', "\\n", "\n", "{{", "'}}'"])
def test_text_with_braces_is_taken_as_it_stands(text: str) -> None:
    assert explain(form_of_text(text, carrier()))["text"] == text


@pytest.mark.parametrize(
    ("sender", "address"),
    [
        ("Brand", ("Brand", 5, 0)),
        ("60777", ("60777", 6, 0)),
        ("447700900000", ("+447700900000", 1, 1)),
        ("", ("Own", 5, 0)),
    ],
)
def test_sender_of_the_chunk_stands_in_the_message_as_the_carrier_wants_it_quirk_27(
    sender: str, address: tuple[str, int, int]
) -> None:
    batch = Batch.of(1, [447700900000])
    batch.dress(form_of("Hi", carrier(source="Own", short_code_ton=6, sender_plus=True), sender=sender))
    pdu = decode(encode_batch(batch)[0])
    fields = pdu.fields
    assert (fields["source_addr"], fields["source_addr_ton"], fields["source_addr_npi"]) == address


LABEL = Around(prefix="(AD) ", suffix=" STOP 1")


def test_label_stands_around_the_text_and_is_cut_with_it() -> None:
    form = form_of("x" * 150, carrier(), label=LABEL)
    assert explain(form)["segments"] == 2 and explain(form)["text"] == f"(AD) {'x' * 150} STOP 1"
    assert explain(form_of("x" * 150, carrier()))["segments"] == 1


def test_octets_wear_no_label_and_are_refused() -> None:
    with pytest.raises(EncodeError, match="found octets"):
        form_of("00ff", carrier(), encoding=Encoding(binary=True), label=LABEL)


def test_label_that_nobody_has_filled_in_is_not_left_out() -> None:
    with pytest.raises(EncodeError, match="expected optout_080, found none"):
        form_of("Sale", carrier(), label=Around(lacks=("optout_080",)))


@pytest.mark.parametrize(
    ("numbers", "code", "country"),
    [
        ([821012345678, 447700900000], "KR", "KR"),
        ([821012345678], "GB", ""),
        ([821012345678, 821012345679], "", "KR"),
        ([447700900000, 14155550123], "", ""),
        ([870776000000], "", ""),
    ],
)
def test_label_is_that_of_the_chunk_or_where_it_has_no_country_that_of_its_numbers(
    numbers: list[int], code: str, country: str
) -> None:
    batch = Batch.of(1, numbers, None, country=code_of(code))
    assert country_of_batch(batch, {"KR": LABEL, "CN": LABEL}) == country


def test_numbers_of_two_labels_in_a_chunk_that_has_no_country_are_refused() -> None:
    with pytest.raises(EncodeError, match="CN, KR"):
        country_of_batch(Batch.of(1, [821012345678, 8613912345678], None), {"KR": LABEL, "CN": LABEL})

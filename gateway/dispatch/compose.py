"""From a run and a carrier to the form its messages are written in: once per run, carrier and label, never per message.

Where a country's law puts a label around a promotional text (campaign/law.py), the texts to it have their own form.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from _fastpath.batch import Batch
from _fastpath.outbound import Form, explain
from _fastpath.template import Template
from gateway.config import CarrierSettings
from gateway.countries import UNKNOWN, country_of, letters_of
from gateway.errors import EncodeError
from gateway.gate import Around
from gateway.message import Encoding
from gateway.routing import address_of

PLAIN = Encoding()


def form_of(
    template: str,
    carrier: CarrierSettings,
    fields: Sequence[str] | None = None,
    encoding: Encoding = PLAIN,
    sender: str = "",
    *,
    has_windows: bool = False,
    label: Around | None = None,
) -> Form:
    """Compile a template for a carrier.

    fields       columns of the run's chunks: the template's own, then others; None: what template and carrier ask for
    encoding     what the run asks for beside its text
    sender       from whom (chunk.source); empty: the carrier's own
    has_windows  whether its messages may lie with the SMSC until a window closes and no longer
    label        what the law of their country puts around the text
    raises       EncodeError: the template is not of the compiled grammar, the carrier's settings do not fit submit_sm,
                 or the run lacks a field that the carrier requires
    """
    source = carrier.source, carrier.source_ton, carrier.source_npi
    if sender:
        source = address_of(sender, short_code_ton=carrier.short_code_ton, has_plus=carrier.sender_plus)
    if label is not None and encoding.binary:
        raise EncodeError("binary: expected text, around which a label can stand, found octets")
    try:
        text = Template(template)
        if label is not None:
            # What is put into NFC first is compared with the label as it is written.
            text = Template(label.put(text.text))
        columns = fields_of(text, [carrier]) if fields is None else fields
        return Form(
            text,
            source=source[0],
            source_ton=source[1],
            source_npi=source[2],
            dest_ton=carrier.dest_ton,
            dest_npi=carrier.dest_npi,
            plus=carrier.plus,
            service_type=carrier.service_type,
            esm_class=carrier.esm_class,
            protocol_id=carrier.protocol_id,
            priority_flag=carrier.priority_flag,
            registered_delivery=carrier.registered_delivery,
            alphabets=carrier.alphabets,
            data_coding={str(name): code for name, code in carrier.data_coding.items()},
            concatenation=carrier.concatenation,
            max_parts=min(carrier.max_parts, encoding.max_parts or carrier.max_parts),
            grapheme=carrier.grapheme,
            national=carrier.national,
            transliterate=carrier.transliterate,
            packed=carrier.packed,
            message_class=0 if encoding.flash else -1,
            class_coding=carrier.class_coding,
            binary=encoding.binary,
            destination_port=-1 if encoding.destination_port is None else encoding.destination_port,
            source_port=encoding.source_port,
            port_bits=encoding.port_bits,
            ports=carrier.ports,
            validity=("relative" if has_windows else "none") if carrier.validity == "auto" else carrier.validity,
            validity_quarters=quarters_of(carrier.validity_zone),
            tlvs=_tlvs_of(carrier, columns),
            more_messages=carrier.more_messages,
        )
    except ValueError as error:
        raise EncodeError(str(error)) from error


def country_of_batch(batch: Batch, labels: Mapping[str, Around]) -> str:
    """Name the country whose label the texts of a batch have; "" = none has one.

    A chunk is alike in country, but for one that nobody has routed: of that the numbers tell.
    raises  EncodeError: they are to have different labels
    """
    if batch.country != UNKNOWN:
        country = letters_of(batch.country)
        return country if country in labels else ""
    found = {country if country in labels else "" for country in map(country_of, map(batch.number, range(batch.n)))}
    if len(found) > 1:
        among = ", ".join(sorted(country or "countries without a label" for country in found))
        raise EncodeError(f"chunk {batch.chunk_id}: expected numbers that have one label, found those of {among}")
    return found.pop() if found else ""


def encoding_of(text: str) -> Encoding:
    """Read what a run asks for; EncodeError for what only a newer Sluice can do: it is not left out."""
    try:
        return msgspec.json.decode(text, type=Encoding)
    except msgspec.DecodeError as error:
        raise EncodeError(f"encoding of the run: {error}") from error


def fields_of(template: Template, carriers: Iterable[CarrierSettings]) -> tuple[str, ...]:
    """Name the columns that a run needs: the template's, then those of which its carriers make TLVs."""
    wanted = [tlv.field for carrier in carriers for tlv in carrier.tlvs if tlv.field]
    return tuple(dict.fromkeys((*template.fields, *wanted)))


def required_of(template: Template, carriers: Iterable[CarrierSettings]) -> tuple[str, ...]:
    """Name those of them that must have a value."""
    wanted = [tlv.field for carrier in carriers for tlv in carrier.tlvs if tlv.field and tlv.required]
    return tuple(dict.fromkeys((*template.required, *wanted)))


def quarters_of(zone: str) -> int:
    """Count the quarter hours of a zone such as +05:30."""
    quarters = int(zone[1:3]) * 4 + int(zone[4:6]) // 15
    return -quarters if zone[0] == "-" else quarters


def _tlvs_of(carrier: CarrierSettings, columns: Sequence[str]) -> list[tuple[int, str, str | None, int, bool, int]]:
    """Give every TLV its value or its column; EncodeError where a required one has neither."""
    found: list[tuple[int, str, str | None, int, bool, int]] = []
    for tlv in carrier.tlvs:
        if not tlv.field:
            found.append((tlv.tag, tlv.type, tlv.value, -1, tlv.required, tlv.max))
        elif tlv.field in columns:
            found.append((tlv.tag, tlv.type, None, columns.index(tlv.field), tlv.required, tlv.max))
        elif tlv.required:
            raise EncodeError(f"tlv 0x{tlv.tag:04x} {tlv.name}: expected a field {tlv.field!r}, the run has none")
    return found


class Savings(Struct, frozen=True, kw_only=True):
    """What transliteration would do to some texts.

    changed   texts in which characters would be replaced
    segments  of all texts together, with it; `without` it
    """

    texts: int
    changed: int
    segments: int
    without: int


def savings(texts: Iterable[str], carrier: CarrierSettings) -> Savings:
    """Count what the carrier's transliteration saves over texts without fields, against the same carrier without it.

    raises  EncodeError as form_of. Texts that cannot be sent count as no segments
    """
    total = changed = segments = without = 0
    for text in texts:
        found = explain(form_of_text(text, carrier))
        plain = [way["segments"] for way in found["ways"] if way["segments"] and not way["transliterated"]]
        total += 1
        changed += found["replaced"] > 0
        segments += found["segments"]
        without += min(plain, default=0)
    return Savings(texts=total, changed=changed, segments=segments, without=without)


def form_of_text(text: str, carrier: CarrierSettings) -> Form:
    """Take a text as it stands, whatever braces are in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return form_of(f'{{{{ "{escaped}" }}}}' if text else "", carrier, ())

"""submit_sm of one message, from the standard and the slow alphabet and segment oracles; the PDU by smpp.pdu."""

from dataclasses import dataclass, field

from gateway.smpp.pdu import Pdu, Tlv, encode
from tests.oracle import alphabet, segment

SINGLE = {"gsm7": 160, "latin1": 140, "ucs2": 140}
# SMPP 3.4 §5.3.2: sar_msg_ref_num, sar_total_segments, sar_segment_seqnum, message_payload.
SAR_REFERENCE, SAR_TOTAL, SAR_NUMBER, PAYLOAD = 0x020C, 0x020E, 0x020F, 0x0424


@dataclass(frozen=True)
class Route:
    """What `outbound.Form` is told, by the same names."""

    alphabets: tuple[str, ...] = ("gsm7", "ucs2")
    concatenation: str = "udh16"
    max_parts: int = 255
    grapheme: bool = True
    fields: dict[str, object] = field(default_factory=dict)
    data_coding: dict[str, int] = field(default_factory=lambda: {"gsm7": 0, "latin1": 3, "ucs2": 8})


def characters(text: str, name: str) -> dict[str, bytes] | None:
    """The octets of every character of a text; None when the alphabet lacks one."""
    encoded: dict[str, bytes] = {}
    for character in set(text):
        if name == "gsm7":
            octets = alphabet.encode(character)
        elif name == "latin1":
            octets = character.encode("latin-1") if ord(character) < 256 else None
        else:
            octets = character.encode("utf-16-be")
        if octets is None:
            return None
        encoded[character] = octets
    return encoded


def parts_of(text: str, route: Route) -> tuple[str, list[bytes]] | None:
    """The alphabet of a message and its parts: the fewest, of several alike the first; None when none has all of it."""
    ways = []
    for name in route.alphabets:
        encoded = characters(text, name)
        if encoded is None:
            continue
        if route.concatenation == "payload":
            ways.append((name, [b"".join(encoded[character] for character in text)]))
            continue
        udh_octets = 7 if route.concatenation == "udh16" else 6
        multi = segment.capacity(name, udh_octets) * (2 if name == "ucs2" else 1)
        ways.append((name, segment.parts_of(text, encoded, SINGLE[name], multi, route.grapheme)))
    return min(ways, key=lambda way: len(way[1])) if ways else None


def submit_sm(number: int, text: str, reference: int, route: Route, sequence: int) -> list[bytes]:
    """The PDUs of a message that can leave."""
    found = parts_of(text, route)
    assert found is not None
    name, parts = found
    pdus = []
    for index, part in enumerate(parts):
        fields = {**route.fields, "destination_addr": str(number), "data_coding": route.data_coding[name]}
        tlvs: tuple[Tlv, ...] = ()
        header = b""
        if route.concatenation == "payload" and len(part) > SINGLE[name]:
            tlvs = (Tlv(PAYLOAD, part),)
            part = b""
        elif len(parts) > 1 and route.concatenation == "sar":
            tlvs = (
                Tlv(SAR_REFERENCE, (reference & 0xFFFF).to_bytes(2, "big")),
                Tlv(SAR_TOTAL, bytes([len(parts)])),
                Tlv(SAR_NUMBER, bytes([index + 1])),
            )
        elif len(parts) > 1:
            bits = 16 if route.concatenation == "udh16" else 8
            header = segment.headers(reference & (2**bits - 1), bits, len(parts))[index]
            fields["esm_class"] = int(fields.get("esm_class", 0)) | 0x40
        fields["short_message"] = header + part
        pdus.append(encode(Pdu(command="submit_sm", sequence_number=sequence + index, fields=fields, tlvs=tlvs)))
    return pdus

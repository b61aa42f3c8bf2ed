from collections.abc import Mapping, Sequence
from typing import Any, final

from _fastpath.batch import Batch
from _fastpath.references import References
from _fastpath.template import Template

@final
class Form:
    @property
    def template(self) -> Template: ...
    @property
    def concatenation(self) -> str: ...
    @property
    def max_parts(self) -> int: ...
    @property
    def grapheme(self) -> bool: ...
    @property
    def columns(self) -> int: ...
    @property
    def wants_receipts(self) -> bool: ...
    @property
    def reference_bits(self) -> int: ...
    @property
    def source_key(self) -> int: ...
    def __init__(
        self,
        template: Template,
        *,
        source: str = "",
        source_ton: int = 5,
        source_npi: int = 0,
        dest_ton: int = 1,
        dest_npi: int = 1,
        plus: bool = False,
        service_type: str = "",
        esm_class: int = 0,
        protocol_id: int = 0,
        priority_flag: int = 0,
        validity_period: str = "",
        registered_delivery: int = 1,
        alphabets: Sequence[str] = ("gsm7", "ucs2"),
        data_coding: Mapping[str, int] | None = None,
        concatenation: str = "udh16",
        max_parts: int = 255,
        grapheme: bool = True,
        national: Sequence[str] = (),
        transliterate: str = "off",
        packed: bool = False,
        message_class: int = -1,
        class_coding: str = "0x10",
        binary: bool = False,
        destination_port: int = -1,
        source_port: int = 0,
        port_bits: int = 16,
        ports: str = "udh",
        validity: str = "none",
        validity_quarters: int = 0,
        tlvs: Sequence[tuple[int, str, str | None, int, bool, int]] = (),
        more_messages: bool = False,
    ) -> None: ...

@final
class Composer:
    @property
    def transliterated(self) -> int: ...
    @property
    def segments_saved(self) -> int: ...

def explain(form: Form, values: Sequence[str | None] = (), expires_at: float = ...) -> dict[str, Any]: ...
def encode_batch(
    batch: Batch, sequence: int = 1, references: References | None = None, wall_s: float = 0.0, now: float = 0.0
) -> tuple[bytes, int, dict[int, int]]: ...

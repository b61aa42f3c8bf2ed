from typing_extensions import Buffer

def segment(
    payload: Buffer,
    alphabet: str,
    ref: int,
    ref_bits: int = 16,
    *,
    grapheme: bool = True,
    single_shift: int = 0,
    locking: int = 0,
    max_parts: int = 255,
    extra_ies: Buffer = b"",
) -> list[tuple[bytes, bytes]]: ...
def first_graphemes(text: str, most: int) -> str: ...
def capacity(alphabet: str, udh_octets: int) -> int: ...

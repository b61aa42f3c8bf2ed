from array import array
from collections.abc import Sequence

HEADER: bytes
TRAILER: bytes

def bucket(number: int) -> int: ...
def pack(numbers: array[int], list_id: int, keys: list[bytes], columns: list[Sequence[str]]) -> bytes: ...

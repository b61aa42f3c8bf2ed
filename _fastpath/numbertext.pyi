from array import array

def scan(
    cells: list[str],
    steps: array[int],
    labels: bytes | bytearray,
    national: int,
    elsewhere: int,
    forms: int,
    trunk_digits: int,
    calling_code: int,
    numbers: array[int],
    kinds: bytearray,
) -> int: ...

from array import array
from typing import final

@final
class FirstSeen:
    def __len__(self) -> int: ...
    def add(self, numbers: array[int], lines: array[int], firsts: array[int]) -> int: ...

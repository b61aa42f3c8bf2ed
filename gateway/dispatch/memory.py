"""How near a worker is to the end of its memory, and what it does about it before the kernel does.

    under 80 %   nothing
    from 80 %    claims no more than what it has in hand: a new chunk when the last one is used up
    from 95 %    claims nothing, and reads no socket that owes receipts; what is in flight ends

Two sizes count: what is resident, against the limits of the machine and of its container, and the address space, where
RLIMIT_AS bounds it. Not here: how they are read (app.py), who obeys (guards.py).
"""

from collections.abc import Iterable
from enum import IntEnum

from msgspec import Struct

SHRINK, REFUSE = 0.80, 0.95
# A size that goes up and down across a line must not make a stage flap.
HYSTERESIS = 0.02
# Of the machine's memory, where nothing else bounds us.
SHARE_OF_RAM = 0.75


class Stage(IntEnum):
    """How far up the ladder."""

    CALM = 0
    SHRINK = 1
    REFUSE = 2


class Limits(Struct, frozen=True):
    """Octets that may be resident, and octets of address space; 0: no bound known."""

    resident: int = 0
    space: int = 0


def limits_of(ram: int, groups: Iterable[int], space: int, setting_mb: int) -> Limits:
    """Take the smallest bound of each kind.

    ram         of the machine; three quarters of it count
    groups      limits of the control groups, v1 or v2
    space       RLIMIT_AS
    setting_mb  worker.memory_limit_mb; all of them 0 where there is none
    """
    bounds = [int(ram * SHARE_OF_RAM), *groups, setting_mb << 20]
    return Limits(min((bound for bound in bounds if bound > 0), default=0), max(space, 0))


class Ladder:
    """Stands on the stage that the last look found. used: the larger share of the two limits."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.stage = Stage.CALM
        self.used = 0.0
        self.resident = 0

    def look(self, resident: int, space: int) -> bool:
        """Take the sizes of now, in octets; -> whether the stage has changed."""
        limits, before = self.limits, self.stage
        self.resident = resident
        self.used = max(
            resident / limits.resident if limits.resident else 0.0, space / limits.space if limits.space else 0.0
        )
        refuse = REFUSE - (HYSTERESIS if before is Stage.REFUSE else 0.0)
        shrink = SHRINK - (HYSTERESIS if before is not Stage.CALM else 0.0)
        self.stage = Stage.REFUSE if self.used >= refuse else Stage.SHRINK if self.used >= shrink else Stage.CALM
        return self.stage is not before

    @property
    def trouble(self) -> str:
        """What a person should know; empty: nothing."""
        if self.stage is Stage.CALM:
            return ""
        does = "claims little" if self.stage is Stage.SHRINK else "claims nothing, takes no receipts"
        return f"memory: {self.used:.0%} of what it may have is in use: {does}"

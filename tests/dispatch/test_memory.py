"""The ladder of memory: limits, stages, and that they do not flap."""

import pytest

from gateway.dispatch.memory import Ladder, Limits, Stage, limits_of

MB = 1 << 20


@pytest.mark.parametrize(
    ("ram", "groups", "space", "setting_mb", "expected"),
    [
        (1000 * MB, [], 0, 0, Limits(750 * MB, 0)),
        (1000 * MB, [1 << 63, 500 * MB], 0, 0, Limits(500 * MB, 0)),
        (1000 * MB, [500 * MB], 0, 100, Limits(100 * MB, 0)),
        (1000 * MB, [], 900 * MB, 0, Limits(750 * MB, 900 * MB)),
        (0, [], 0, 0, Limits(0, 0)),
    ],
    ids=["machine", "container", "setting", "address space apart", "nothing known"],
)
def test_smallest_bound_counts(ram: int, groups: list[int], space: int, setting_mb: int, expected: Limits) -> None:
    assert limits_of(ram, groups, space, setting_mb) == expected


def test_stages_at_80_and_95_percent_and_back_below_them() -> None:
    """Fault 10: what happens before the kernel does it."""
    ladder = Ladder(Limits(resident=1000))
    seen = []
    for used in (799, 800, 790, 779, 949, 950, 940, 929, 700):
        ladder.look(used, 0)
        seen.append(ladder.stage)
    calm, shrink, refuse = Stage.CALM, Stage.SHRINK, Stage.REFUSE
    assert seen == [calm, shrink, shrink, calm, shrink, refuse, refuse, shrink, calm]


def test_change_of_stage_is_told_once() -> None:
    ladder = Ladder(Limits(resident=1000))
    assert [ladder.look(used, 0) for used in (100, 850, 851, 852, 100)] == [False, True, False, False, True]


def test_address_space_counts_where_it_is_bounded() -> None:
    ladder = Ladder(Limits(resident=1000, space=2000))
    ladder.look(100, 1960)
    assert ladder.stage is Stage.REFUSE and "98%" in ladder.trouble


def test_without_a_limit_there_is_no_ladder() -> None:
    ladder = Ladder(Limits())
    assert not ladder.look(1 << 60, 1 << 60) and ladder.stage is Stage.CALM and ladder.trouble == ""

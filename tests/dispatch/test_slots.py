"""Fair shares of binds and of an account's rate: the rules, in any order of takes, losses and fences."""

import math
import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import CarrierSettings, LimitSettings
from gateway.dispatch.slots import SETTLED_S, Share, held_by, is_sole, parts, shared, to_give, to_take
from gateway.store.membership import Slot


def free(count: int) -> list[Slot]:
    return [Slot(slot=place + 1) for place in range(count)]


def settled(slots: list[Slot], workers: list[str], sole: bool = False) -> list[Slot]:
    """Let every worker act in turn until nobody changes anything."""
    for _ in range(1000):
        before = list(slots)
        for us in workers:
            for slot in to_give(slots, us, workers, sole):
                slots[slot - 1] = Slot(slot=slot)
            for slot in to_take(slots, us, workers, sole):
                assert slots[slot - 1].owner is None
                slots[slot - 1] = Slot(slot=slot, owner=us)
        if slots == before:
            return slots
    raise AssertionError(f"they never come to rest: {slots}")


@given(count=st.integers(1, 20), workers=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_slots_are_shared_evenly_whoever_had_them(count: int, workers: int, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"w{n}" for n in range(workers)]
    slots = [Slot(slot=n + 1, owner=chance.choice([*names, None])) for n in range(count)]
    held = held_by(settled(slots, chance.sample(names, workers)))
    assert sum(held.values()) == count
    assert all(count // workers <= held.get(name, 0) <= -(-count // workers) for name in names)


@given(count=st.integers(1, 20), workers=st.integers(1, 9))
def test_who_comes_alone_takes_everything_and_gives_what_the_others_lack(count: int, workers: int) -> None:
    slots = settled(free(count), ["w0"])
    assert held_by(slots) == {"w0": count}
    names = [f"w{n}" for n in range(workers)]
    giving = to_give(slots, "w0", names, False)
    assert len(giving) == max(count - -(-count // workers), (workers - 1) * (count // workers))
    assert giving == sorted(giving) and set(giving) <= set(range(count - len(giving) + 1, count + 1))


def test_nobody_gives_while_a_slot_is_free_for_who_lacks_one() -> None:
    slots = [Slot(slot=1, owner="a"), Slot(slot=2, owner="a"), Slot(slot=3)]
    assert to_give(slots, "a", ["a", "b"], False) == []
    assert to_take(slots, "b", ["a", "b"], False) == [3]
    assert to_take(slots, "a", ["a", "b"], False) == []


def test_an_account_that_cannot_be_divided_has_one_worker() -> None:
    slots = settled(free(4), ["a", "b", "c"], sole=True)
    assert held_by(slots) == {"a": 4}
    assert to_take([*slots[:3], Slot(slot=4)], "b", ["a", "b"], True) == []
    mixed = [Slot(slot=1, owner="b"), Slot(slot=2, owner="a")]
    assert to_give(mixed, "a", ["a", "b"], True) == [2] and to_give(mixed, "b", ["a", "b"], True) == []


def test_which_accounts_cannot_be_divided() -> None:
    plain = CarrierSettings(host="h", port=1, system_id="x", tps=100, bind_tps=10)
    assert not is_sole(plain)
    for change in (
        {"per_day": 5},
        {"per_minute": 5},
        {"host_tps": 5},
        {"destination_outstanding": 1},
        {"sender_limits": {"*": LimitSettings(tps=1)}},
        {"outbind_listen": "127.0.0.1:1"},
    ):
        assert is_sole(msgspec.structs.replace(plain, **change)), change


@given(tps=st.integers(0, 1000), owners=st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=9))
def test_parts_are_all_of_the_rate_and_even(tps: int, owners: list[str | None]) -> None:
    slots = [Slot(slot=n + 1, owner=owner) for n, owner in enumerate(owners)]
    found = parts(tps, slots)
    live = [one.slot for one in slots if one.owner is not None]
    assert sorted(found) == live
    if live:
        assert sum(found.values()) == tps and max(found.values()) - min(found.values()) <= 1
        assert [found[slot] for slot in live] == sorted(found.values(), reverse=True)


class Account:
    """The table, and workers that use what they may, at moments that a test chooses."""

    def __init__(self, slots: int, tps: int):
        self.tps, self.slots, self.now = tps, free(slots), 0.0
        self.shares: dict[str, Share] = {}
        # (from, worker, usable): how much each could have sent a second, and since when.
        self.history: list[tuple[float, str, int]] = []

    def used(self, us: str) -> None:
        self.history.append((self.now, us, self.shares[us].at(self.now)))

    def divide(self, us: str) -> None:
        """One transaction of a worker."""
        share = self.shares.setdefault(us, Share())
        for one in shared(self.slots, us, self.tps):
            self.slots[one.slot - 1] = one
        total = sum(one.share for one in self.slots if one.owner == us)
        share.lower(total)
        self.used(us)
        share.settle(total, self.now + SETTLED_S)

    def most_in_a_second(self) -> int:
        """The most that all together may have sent in a sliding second: each one's highest rate inside of it."""
        moments = sorted({at for at, _, _ in self.history})
        worst = 0
        for begin in [m + shift for m in moments for shift in (0.0, 1e-9, -1.0, -1.0 + 1e-9)]:
            rates: dict[str, int] = {}
            for at, us, usable in self.history:
                if at <= begin:
                    rates[f"{us} before"] = usable
                elif at < begin + 1.0:
                    rates[us] = max(rates.get(us, 0), usable)
            highest = {us: max(rates.get(us, 0), rates.get(f"{us} before", 0)) for us in self.shares}
            worst = max(worst, sum(highest.values()))
        return worst


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["take", "free", "fence", "divide", "wait", "use"]),
        st.sampled_from("abc"),
        st.integers(1, 5),
        st.sampled_from([0.0, 0.1, 0.5, 1.005, 1.2]),
    ),
    max_size=40,
)


@given(slots=st.integers(1, 5), tps=st.integers(1, 50), acts=ACTS)
def test_no_sliding_second_exceeds_the_rate_through_any_takes_losses_and_fences(
    slots: int, tps: int, acts: list[tuple[str, str, int, float]]
) -> None:
    """Invariant T1."""
    account = Account(slots, tps)
    for act, us, slot, wait_s in acts:
        slot = (slot - 1) % slots
        one = account.slots[slot]
        if act == "take" and one.owner is None:
            account.slots[slot] = Slot(slot=slot + 1, owner=us)
            account.divide(us)
        elif act == "free" and one.owner == us:
            # The throttle first, then the COMMIT.
            account.shares[us].lower(sum(each.share for each in account.slots if each.owner == us) - one.share)
            account.used(us)
            account.slots[slot] = Slot(slot=slot + 1)
        elif act == "fence" and us in account.shares:
            # Its lease was over before: it has sent nothing for a while, and nothing more.
            account.shares.pop(us)
            account.history = [each for each in account.history if each[1] != us]
            account.slots = [Slot(slot=each.slot) if each.owner == us else each for each in account.slots]
        elif act == "divide" and us in account.shares:
            account.divide(us)
        elif act == "wait":
            account.now += wait_s
        elif act == "use" and us in account.shares:
            account.used(us)
        assert sum(each.share for each in account.slots) <= tps
        assert sum(share.usable for share in account.shares.values()) <= tps
    assert account.most_in_a_second() <= tps


def test_a_raise_is_used_when_it_has_settled_and_a_lowering_at_once() -> None:
    share = Share()
    share.settle(50, 10.0)
    assert (share.at(9.99), share.next_at()) == (0, 10.0)
    assert (share.at(10.0), share.next_at()) == (50, math.inf)
    share.settle(100, 12.0)
    share.lower(30)
    assert share.at(11.0) == 30 and share.at(12.0) == 30

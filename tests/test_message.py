"""The nouns agree with the rooms that write and read them as numbers."""

import re
from pathlib import Path

from gateway.message import FINAL_RECEIPT_STATES, RECEIPT_STATES, MessageClass, Policy, Refusal

ROOT = Path(__file__).parents[1]
# Never decided while composing: what is in doubt, what nobody takes, and what is cancelled.
DECIDED_BEFORE = (Refusal.UNCERTAIN, Refusal.NO_ROUTE, Refusal.CANCELLED)


def enum_of(path: str) -> dict[str, int]:
    """Every `NAME = number` of a .pxd or .pyx."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return {name: int(value) for name, value in re.findall(r"^\s+([A-Z][A-Z_]+) = (-?\d+)", text, re.MULTILINE)}


def test_refusals_are_those_of_the_compiled_room():
    compiled = enum_of("_fastpath/outbound.pxd")
    composed = {refusal.name: refusal.value for refusal in Refusal if refusal not in DECIDED_BEFORE}
    assert composed == {name: value for name, value in compiled.items() if value < 0}


def test_every_refusal_is_below_any_command_status():
    assert all(refusal < 0 for refusal in Refusal)


def test_final_states_are_known_states_and_unknown_is_none_of_them():
    assert {RECEIPT_STATES[number] for number in FINAL_RECEIPT_STATES} == {
        "delivered", "expired", "deleted", "undeliverable", "rejected", "skipped",
    }  # fmt: skip


def test_receipt_states_are_those_of_the_standard():
    assert sorted(RECEIPT_STATES) == list(range(-1, 10))


def test_classes_come_in_the_order_in_which_they_may_overtake():
    assert [class_.name for class_ in sorted(MessageClass)] == [
        "OTP", "COMPLIANCE", "CONVERSATION", "TRANSACTIONAL", "TRIGGERED", "BULK",
    ]  # fmt: skip


def test_policies_are_words_that_the_database_holds():
    assert [str(policy) for policy in Policy] == ["once", "at_least_once", "ask"]

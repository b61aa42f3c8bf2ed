"""What one lane tells Postgres: a receipt goes to its segment where the memory knows it, and waits otherwise."""

import pytest

from _fastpath.ledger import Ledger


def test_receipt_of_a_known_id_is_a_row_of_its_segment_and_another_waits():
    ledger = Ledger(3)
    ledger.recall.add(b"m-1", 7, 4, 1)
    ledger.take_receipt(b"m-1", 2, b"000", 447700900123, b"raw", 1.0)
    ledger.take_receipt(b"m-2", 5, None, None, b"", 1.0)
    assert (ledger.receipts.count, ledger.waiting.count) == (1, 1)
    assert (ledger.receipts_matched, ledger.receipts_waiting) == (1, 1)
    assert (ledger.counts()["receipt_states"][2], ledger.counts()["receipt_states"][5]) == (1, 1)


@pytest.mark.parametrize("message_id", [b"", b"x" * 256])
def test_id_that_no_row_takes_is_refused_by_name(message_id):
    with pytest.raises(ValueError, match="message_id: expected 1 to 255 octets"):
        Ledger(3).take_receipt(message_id, 2, None, None, b"", 1.0)


def test_receipt_from_a_carrier_that_did_not_take_the_message_is_never_matched():
    took, other = Ledger(3), Ledger(4)
    took.recall.add(b"m-1", 7, 4, 1, 0.0, 447700900123)
    other.take_receipt(b"m-1", 2, b"000", 447700900123, b"raw", 1.0)
    assert (other.receipts_matched, other.receipts_waiting) == (0, 1)
    # It waits as the other lane's: the match in Postgres joins within a lane alone.
    assert other.waiting.lane == 4 and took.receipts_matched == 0

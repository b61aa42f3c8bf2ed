"""The ledger's file: appended to, torn, counted, folded into messages."""

import hypothesis.strategies as st
from hypothesis import given

from gateway.simulator.ledger import Ledger, read

RUN = b"""E,1,1000,north
S,5,1,acme,1,Brand,447700900001,0,0,1,5,a430d84680aabd0b,0,1001,27
D,5,1,1,1001,DELIVRD,100
O,6,1,100
K,7,1,1,1001,0
S,8,1,acme,2,,4477%2C,64,8,0,5,a430d84680aabd0b,88,,127
S,9,1,acme,3,Brand,447700900003,0,0,0,5,a430d84680aabd0b,0,1003,0
R,9,1,3,0,1003,150
"""


def test_messages_are_folded_from_lines(tmp_path):
    path = tmp_path / "ledger.csv"
    path.write_bytes(RUN)
    first, refused, late = read(path)
    assert first.left and first.receipts[0].left and first.receipts[0].answer == 0
    assert first.receipts[0].state == "DELIVRD" and first.message_id == "1001"
    assert refused.status == 88 and refused.destination == "4477," and refused.answered and not refused.left
    assert late.answered and not late.left


def test_receipts_that_left_before_their_response_belong_to_it(tmp_path):
    path = tmp_path / "ledger.csv"
    head, submit, told, *rest = RUN.splitlines(keepends=True)
    path.write_bytes(b"".join([head, told, submit, *rest]))
    assert [receipt.state for receipt in read(path)[0].receipts] == ["DELIVRD"]


def test_ids_go_on_behind_those_of_the_file(tmp_path):
    path = tmp_path / "ledger.csv"
    assert Ledger(path).next_id() == 0
    path.write_bytes(RUN)
    assert Ledger(path).next_id() == 1004


def test_count_of_ids_does_not_depend_on_where_blocks_end(tmp_path):
    path = tmp_path / "ledger.csv"
    body = b"".join(line + b"\n" for line in RUN.splitlines()[1:2]) * 40_000
    path.write_bytes(RUN.splitlines(keepends=True)[0] + body)
    assert Ledger(path).next_id() == 41_001


def test_torn_line_is_closed_and_left_out(tmp_path):
    path = tmp_path / "ledger.csv"
    path.write_bytes(RUN + b"S,10,1,acme,4,Bra")
    ledger = Ledger(path, sync=True)
    ledger.write(b"E,11,2000,north\n")
    ledger.close()
    assert len(read(path)) == 3 and path.read_bytes().endswith(b"Bra\nE,11,2000,north\n")


@given(st.binary(max_size=300))
def test_any_file_is_counted_without_an_error(tmp_path_factory, octets):
    path = tmp_path_factory.mktemp("ledger") / "ledger.csv"
    path.write_bytes(octets)
    Ledger(path).next_id()

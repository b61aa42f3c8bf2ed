"""command_status: every number has a name and one thing to do."""

import pytest

from gateway.smpp import status
from gateway.smpp.status import Disposition


def test_numbers_of_the_dispositions_are_those_the_compiled_rooms_read():
    assert [(each.name, each.value) for each in Disposition] == [
        ("OK", 0),
        ("THROTTLE", 1),
        ("RETRY", 2),
        ("FAIL", 3),
        ("SESSION", 4),
        ("CONFIG", 5),
        ("REROUTE", 6),
        ("DESTINATION", 7),
    ]


def test_table_holds_one_octet_for_each_status_and_agrees_with_the_rows():
    table = status.table()
    assert len(table) == 0x500
    assert all(table[value] == status.of_submit(value) for value in range(0x500))


def test_only_zero_is_ok():
    assert [value for value, octet in enumerate(status.table()) if octet == Disposition.OK] == [0]


@pytest.mark.parametrize(
    ("value", "disposition"),
    [
        (0x00, "OK"),
        (0x58, "THROTTLE"),
        (0x14, "DESTINATION"),
        (0x08, "RETRY"),
        (0x45, "RETRY"),
        (0x64, "RETRY"),
        (0x0B, "FAIL"),
        (0xFF, "RETRY"),
        (0x04, "SESSION"),
        (0x0E, "CONFIG"),
        (0x101, "CONFIG"),
        (0x102, "RETRY"),
        (0x400, "FAIL"),
        (0x4FF, "FAIL"),
        (0x09, "FAIL"),
        (0xFFFFFFFF, "FAIL"),
    ],
)
def test_submit_response_is_judged_by_the_table(value, disposition):
    assert status.of_submit(value).name == disposition


@pytest.mark.parametrize(
    ("value", "disposition"),
    [
        (0x00, "OK"),
        (0x05, "SESSION"),
        (0x08, "RETRY"),
        (0x14, "RETRY"),
        (0x0D, "CONFIG"),
        (0x0E, "CONFIG"),
        (0x0F, "CONFIG"),
        (0x53, "CONFIG"),
        (0x58, "RETRY"),
    ],
)
def test_bind_response_is_judged_by_its_own_column(value, disposition):
    assert status.of_bind(value).name == disposition


def test_words_of_an_operator_for_refusals_are_three_dispositions():
    assert {word: row.name for word, row in status.REFUSALS.items()} == {
        "stale": "SESSION",
        "busy": "RETRY",
        "config": "CONFIG",
    }


@pytest.mark.parametrize(
    ("value", "kind"),
    [(0x05, "SESSION"), (0x0E, "CONFIG"), (0x58, "RETRY"), (0x401, "SESSION"), (0x45, "CONFIG"), (0x08, "RETRY")],
)
def test_refusal_of_a_bind_is_of_three_kinds_whatever_the_words_for_messages_are(value, kind):
    assert status.of_refusal(value, {0x45: Disposition.FAIL, 0x08: Disposition.THROTTLE}).name == kind


def test_carriers_own_words_about_refusals_are_read_by_number_or_name():
    words = status.refusals({"0x03": "config", "RINVPRTFLG": "stale", "0x401": "busy"})
    assert words == {0x03: Disposition.CONFIG, 0x06: Disposition.SESSION, 0x401: Disposition.RETRY}
    with pytest.raises(ValueError, match="0x4ff"):
        status.refusals({"0x7fffffff": "busy"})


def test_vendor_refusal_of_a_bind_is_backed_off_from_and_not_given_up():
    assert status.of_bind(0x401) is Disposition.SESSION


def test_override_of_a_route_goes_first():
    overrides = {0x58: Disposition.RETRY, 0x401: Disposition.THROTTLE}
    assert status.of_submit(0x58, overrides) is Disposition.RETRY
    assert status.of_bind(0x401, overrides) is Disposition.THROTTLE
    table = status.table(overrides)
    assert (table[0x58], table[0x401], table[0x14]) == (Disposition.RETRY, Disposition.THROTTLE, 7)
    with pytest.raises(ValueError, match="0x500"):
        status.table({0x500: Disposition.FAIL})


def test_nack_for_lost_framing_ends_the_session():
    assert status.of_nack(0x02) is Disposition.SESSION
    assert status.of_nack(0x58) is Disposition.THROTTLE


def test_failed_transaction_is_judged_by_its_reason():
    reasons = [status.of_delivery_failure(reason).name for reason in (0, 1, 2, 3, None, 9)]
    assert reasons == ["RETRY", "FAIL", "FAIL", "RETRY", "FAIL", "FAIL"]


def test_names_tell_vendor_from_reserved_numbers():
    assert status.name(0x58) == "ESME_RTHROTTLED"
    assert status.name(0x40A) == "vendor 0x40a"
    assert status.name(0x09) == "reserved 0x00000009"


def test_old_and_new_names_find_the_same_number():
    assert status.VALUE_BY_NAME["ESME_RINVOPTPARSTREAM"] == status.VALUE_BY_NAME["ESME_RINVTLVSTREAM"] == 0xC0
    assert len({row.value for row in status.STATUSES}) == len(status.STATUSES)


def test_words_of_a_carrier_replace_rows_by_number_and_by_name():
    words = {"0x401": "throttle", "RSYSERR": "reject", "ESME_RINVDSTADR": "reroute", "1026": "destination"}
    rows = status.overrides(words)
    assert rows == {
        0x401: Disposition.THROTTLE,
        0x08: Disposition.FAIL,
        0x0B: Disposition.REROUTE,
        0x402: Disposition.DESTINATION,
    }
    assert status.problems(words) == []


def test_every_disposition_has_its_word():
    assert sorted(status.DISPOSITION_BY_WORD.values()) == sorted(Disposition)
    assert status.DISPOSITION_BY_WORD["reject"] is Disposition.FAIL


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"RSYSERROR": "retry"}, ("RSYSERROR", "a number such as 0x401, or a name such as RSYSERR", "'RSYSERROR'")),
        ({"0x500": "retry"}, ("0x500", "a status from 0x1 to 0x4ff", "'0x500'")),
        ({"-1": "retry"}, ("-1", "a status from 0x1 to 0x4ff", "'-1'")),
        # What is taken is taken: 0 has no other meaning.
        ({"ROK": "retry"}, ("ROK", "a status from 0x1 to 0x4ff", "'ROK'")),
        (
            {"0x58": "retry", "RTHROTTLED": "reject"},
            ("RTHROTTLED", "the same as '0x58', 'retry': both are ESME_RTHROTTLED", "'reject'"),
        ),
    ],
)
def test_wrong_word_about_a_status_is_named(words, problem):
    assert status.problems(words) == [problem]
    with pytest.raises(ValueError, match=rf"statuses\.{problem[0]}: expected"):
        status.overrides(words)


FORTY = [row.value for row in status.STATUSES if row.value][:36] + [0x400, 0x401, 0x48C, 0x4FF]


@pytest.mark.parametrize("value", FORTY, ids=hex)
def test_quirk_10_any_status_can_be_given_any_disposition_by_carrier(value):
    for word, disposition in status.DISPOSITION_BY_WORD.items():
        table = status.table(status.overrides({hex(value): word}))
        assert table[value] == disposition
        # Its neighbours keep what the standard says.
        others = [each for each in range(status.TABLE_OCTETS) if each != value]
        assert all(table[each] == status.of_submit(each) for each in others)


def test_quirk_10_status_that_nobody_listed_fails_the_message_and_keeps_its_number():
    assert len(FORTY) == 40
    assert {status.of_submit(value) for value in status.VENDOR} == {Disposition.FAIL}
    assert status.name(0x48C) == "vendor 0x48c"


def test_network_errors_are_read_with_their_network_or_for_any():
    words = {"3:21": "retry", "*:7": "reject", "0x2:0xFFFF": "throttle"}
    assert status.network_overrides(words) == {
        (3, 21): status.Disposition.RETRY,
        (-1, 7): status.Disposition.FAIL,
        (2, 0xFFFF): status.Disposition.THROTTLE,
    }


@pytest.mark.parametrize("key", ["21", "3:", ":21", "-1:21", "256:1", "3:65536", "a:b", ""])
def test_network_error_that_is_none_is_named(key):
    [(entry, expected, found)] = status.network_problems({key: "retry"})
    assert (entry, found) == (key, repr(key)) and "3:21" in expected
    with pytest.raises(ValueError, match="network_errors"):
        status.network_overrides({key: "retry"})


def test_network_error_is_said_once_and_never_counts_as_taken():
    assert [key for key, _, _ in status.network_problems({"3:21": "retry", "0x3:0x15": "reject"})] == ["0x3:0x15"]
    assert [key for key, _, _ in status.network_problems({"3:21": "ok"})] == ["3:21"]

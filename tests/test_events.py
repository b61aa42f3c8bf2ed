"""An event has exactly the fields of its kind."""

from datetime import UTC, datetime

import pytest

from gateway.events import KINDS, event

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_an_event_carries_what_it_was_given() -> None:
    made = event("handset.reachable", NOW, "447700900000", address="12345", status=0)
    assert (made.kind, made.at, made.subject) == ("handset.reachable", NOW, "447700900000")
    assert made.body == {"address": "12345", "status": 0}


def test_a_kind_that_is_not_in_the_catalogue_is_refused() -> None:
    with pytest.raises(ValueError, match=r"event 'inbound\.recieved': expected one of inbound\.received, "):
        event("inbound.recieved", NOW, "44")


@pytest.mark.parametrize("body", [{}, {"address": "1"}, {"address": "1", "status": 0, "more": 1}])
def test_other_fields_than_those_of_the_kind_are_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"event handset\.reachable: expected address, status, found "):
        event("handset.reachable", NOW, "44", **body)


def test_every_kind_says_what_it_tells_of_whom_and_in_which_fields() -> None:
    for name, kind in KINDS.items():
        assert name.count(".") == 1 and kind.sentence and kind.subject and all(kind.fields.values()), name

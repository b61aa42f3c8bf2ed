"""What the gate asks of a run: how people write it, and how it is kept."""

import msgspec
import pytest

from gateway.gate import Around, Cap, Gate, gate_of, read_caps


def test_caps_are_written_as_words_or_as_tables_CP_1():
    problems = []
    caps = read_caps(["1 per day", "4 per 7d", {"limit": 1, "per": "2w", "tags": ["exclusive"]}], "caps", problems)
    assert not problems
    assert caps == (Cap(limit=1, per="day"), Cap(limit=4, per="7d"), Cap(limit=1, per="2w", tags=("exclusive",)))
    assert [cap.hours for cap in caps] == [0, 168, 336]
    assert [cap.words for cap in caps] == ["1 per day", "4 per 7d", "1 per 2w tagged exclusive"]


@pytest.mark.parametrize(
    ("value", "key", "found"),
    [
        ("often", "caps[0]", "'often'"),
        ("4 per fortnight", "caps[0].per", "'fortnight'"),
        ("4 per 0d", "caps[0].per", "'0d'"),
        ("4 per 60w", "caps[0].per", "'60w'"),
        ({"limit": 300, "per": "day"}, "caps[0]", "300"),
        ({"limit": 3, "per": "day", "clases": ["bulk"]}, "caps[0]", "clases"),
        (4, "caps[0]", "int"),
    ],
)
def test_what_is_no_cap_is_told_with_its_place(value, key, found):
    problems = []
    assert read_caps([value], "caps", problems) == ()
    ((where, expected, got),) = problems
    assert where == key and expected and (found in got or found == "300")


def test_a_gate_is_kept_as_it_was_written_and_nothing_else_is_one():
    gate = Gate(brand="acme", caps=(Cap(limit=4, per="7d", scope="endpoint"),), on_cap="defer", tags=("sale",))
    assert gate_of(msgspec.json.encode(gate).decode()) == gate
    assert gate_of(None) is None
    with pytest.raises(ValueError, match="unknown field `brnd`"):
        gate_of('{"brnd": "acme"}')


def test_what_a_law_puts_around_a_text_is_kept_with_the_run_and_put_once() -> None:
    label = Around(prefix="(AD) ", suffix=" STOP 1")
    gate = Gate(labels={"KR": label, "CN": Around(lacks=("brand",))})
    assert gate_of(msgspec.json.encode(gate).decode()) == gate
    assert label.put("Sale") == label.put(label.put("Sale")) == "(AD) Sale STOP 1"
    with pytest.raises(ValueError, match="expected brand"):
        gate.labels["CN"].put("Sale")

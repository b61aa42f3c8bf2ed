"""`sluice start`: only what is stopped is lifted, with a reason that is kept."""


def test_stop_is_lifted_with_its_reason_and_only_in_its_scope(sluice, queue):
    sluice("migrate")
    sluice("stop", "+447700900123")
    sluice("stop", "+447700900123", "--sender", "ACME")
    result = sluice("start", "+447700900123", "--reason", "asked by e-mail")
    assert result.code == 0 and "1 may be written to again, entry 4" in result.out
    shown = sluice("stop", "--check", "+447700900123").out
    assert "everything: may be written to since" in shown and "asked by e-mail" in shown
    assert "sender acme: stopped since" in shown
    assert sluice("start", "+447700900123", "--reason", "again").out == "none of them is stopped there\n"


def test_cn_5_a_doubt_is_lifted_with_the_rest_by_a_person(sluice, queue):
    sluice("migrate")
    queue("UPDATE stop_head SET seq = 2")
    queue(
        "INSERT INTO stop_feed (seq, number, at, is_stop, scope, source) "
        "VALUES (2, 447700900123, now(), true, 'promotional', 'doubt')"
    )
    assert "what is promotional: stopped since" in sluice("stop", "--check", "+447700900123").out
    assert "1 may be written to again, entry 3" in sluice("start", "+447700900123", "--reason", "asked").out
    assert "what is promotional: may be written to since" in sluice("stop", "--check", "+447700900123").out


def test_without_a_reason_nobody_is_written_to_again(here, settings):
    assert here("start", "+447700900123").code == 2
    assert here("start", "+447700900123", "--reason", " ").code == 2

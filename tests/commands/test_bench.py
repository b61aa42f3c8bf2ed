"""`sluice bench`: one JSON object a run, counted to the last message."""

import pytest

FIGURES = {"rate", "cpu_us_per_message", "rss_mb", "responses", "receipts", "errors", "p50_ms", "p99_ms", "complete"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--messages", "2500", "--binds", "2", "--window", "50"), {"responses": 2500, "receipts": 0}),
        (("--messages", "1200", "--receipts"), {"responses": 1200, "receipts": 1200}),
        (("--messages", "100", "--text", "x" * 400), {"responses": 300, "segments": 3}),
    ],
)
def test_client_counts_what_it_sent(sluice, ports, options, expected):
    result = sluice("bench", "client", "--port", str(ports["north"]), "--json", *options)
    assert result.code == 0 and set(result.json) >= FIGURES and result.err == ""
    assert expected.items() <= result.json.items() and result.json["complete"] and result.json["errors"] == 0


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (("--system-id", "guard", "--password", "wr0ng-pw"), 1, "ESME_RINVPASWD"),
        (("--system-id", "sixteen-characters"), 78, "--system-id: expected at most 15"),
        (("--host", "a b"), 78, "--host: expected a host name"),
        (("--text", ""), 65, "--text: empty"),
        (("--text", "{{ x"), 65, "--text: "),
        (("--text", "{{ x }}"), 65, "--text: "),
        (("--timeout", "nan"), 2, "number of seconds"),
    ],
)
def test_client_says_plainly_why_it_cannot(here, ports, options, code, expected):
    result = here("bench", "client", "--port", str(ports["guarded"]), "--messages", "10", *options)
    assert (result.code, expected in result.err) == (code, True), result.err


def test_client_says_that_nobody_listens(here, ports):
    result = here("bench", "client", "--port", str(ports["nowhere"]), "--messages", "10")
    assert result.code == 1 and f"no bind at 127.0.0.1:{ports['nowhere']}" in result.err


def test_life_is_whole_on_a_database_of_the_users_own(sluice, dsn):
    for _ in range(2):
        result = sluice("bench", "life", "--messages", "5000", "--receipts", "--json", "--dsn", dsn)
        assert result.code == 0, result.err
        assert result.json["complete"] and result.json["states"] == {"delivered": 5000}
        assert set(result.json) >= FIGURES and result.json["cpu_us_postgres"] is None


def test_life_says_that_the_database_is_away_or_misspelt(sluice):
    result = sluice("bench", "life", "--messages", "10", "--dsn", "postgresql://u:dsn-s3cret@127.0.0.1:1/x")
    assert result.code == 75 and result.err.startswith("postgres: connect")
    assert sluice("bench", "life", "--messages", "10", "--dsn", "host=h password=dsn-s3cret").code == 78

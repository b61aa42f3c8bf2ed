"""`sluice brand apply`: limits that are lowered while a run goes on."""

import pytest

from tests.commands.test_gated import AS_ACME, BRAND, given

FIRST = 447911123400


@pytest.fixture
def acme(settings, tmp_path):
    settings()
    with (tmp_path / "sluice.toml").open("a") as file:
        file.write(BRAND)


def test_a_limit_that_is_lowered_holds_for_what_is_still_queued_and_a_raised_one_brings_nobody_back_CP_8(
    sluice,
    queue,
    people,
    acme,
    dsn,
    tmp_path,
):
    given(dsn, {FIRST + at: 2 for at in range(10)}, contacted=[FIRST, FIRST + 1])
    settings = tmp_path / "sluice.toml"
    asked = settings.read_text()
    settings.write_text(asked.replace("limit = 1, per", "limit = 2, per"))
    queued = sluice("send", "--contacts", people(10), *AS_ACME[:-1], "--detach")
    assert queued.code == 0, queued.err
    assert sluice("brand", "apply", "acme").out.endswith("nothing is lower\n")
    settings.write_text(asked)
    lowered = sluice("brand", "apply", "acme", "--json")
    assert lowered.json["runs"][0]["changes"] == ["2 per 7d → 1 per 7d"], lowered.err
    (noted,) = sluice("audit", "--json").json
    assert noted["action"] == "lower" and noted["reason"] == "2 per 7d → 1 per 7d"
    # Another run takes the worker along, which sends what was queued.
    other = sluice("send", "--contacts", people(10), *AS_ACME, "--again", "--bypass", "recall of a product")
    assert other.json["states"]["delivered"] == 10
    run = lowered.json["runs"][0]["run"]
    found = queue(f"SELECT status, count(*)::int FROM outcome WHERE chunk_id >> 20 = {run} GROUP BY 1 ORDER BY 1")
    assert dict(found)[-100] >= 2 and sum(dict(found).values()) == 10
    settings.write_text(asked.replace("limit = 1, per", "limit = 9, per"))
    assert sluice("brand", "apply", "acme", "--json").code == 0
    assert queue(f"SELECT count(*)::int FROM chunk WHERE run = {run} AND state IN (0, 1)") == [(0,)]

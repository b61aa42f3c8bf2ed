"""`sluice audit`: who passed over caps, and why."""

import pytest

from gateway.commands._control import whoever
from tests.commands.test_gated import AS_ACME, BRAND, given

FIRST = 447911123400
BULK = ("--brand", "acme", "--text", "hello", "--carrier", "north", "--detach")


@pytest.fixture
def acme(settings, tmp_path):
    settings()
    with (tmp_path / "sluice.toml").open("a") as file:
        file.write(BRAND)


@pytest.mark.covers("S3.28")
def test_who_passes_over_caps_needs_a_permission_for_what_advertises_and_is_written_down_CP_6(
    sluice,
    queue,
    people,
    acme,
    dsn,
    tmp_path,
):
    given(dsn, {FIRST + at: 2 for at in range(3)})
    refused = sluice("send", "--contacts", people(3), *BULK, "--bypass", "we want to")
    assert refused.code == 78 and "brands.acme.may_bypass: expected" in refused.err
    assert sluice("audit").out == "" and queue("SELECT count(*)::int FROM run") == [(0,)]
    allowed = sluice("send", "--contacts", people(3), *AS_ACME, "--bypass", "recall of a product")
    assert allowed.code == 0, allowed.err
    with (tmp_path / "sluice.toml").open("a") as file:
        file.write(f'may_bypass = ["{whoever().partition("@")[0]}"]\n')
    named = sluice("send", "--contacts", people(3), *BULK, "--again", "--bypass", "the chief says so")
    assert named.code == 0, named.err
    found = sluice("audit", "--json").json
    assert [one["reason"] for one in found] == ["the chief says so", "recall of a product"]
    assert {one["by"] for one in found} == {whoever()} and all(one["action"] == "bypass" for one in found)
    told = sluice("explain", "--number", f"+{FIRST}", "--campaign", found[1]["about"].removeprefix("run "))
    assert f"passed over by {whoever()}: recall of a product" in told.out

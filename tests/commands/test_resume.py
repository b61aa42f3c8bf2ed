"""`sluice resume`: what stands still goes on, and nothing else is resumed."""


def test_only_what_stands_still_goes_on(sluice, queue):
    sluice("migrate")
    refused = sluice("resume", "country", "DE")
    assert refused.code == 1
    assert refused.err == "country 'DE': expected what is paused or drained, which is nothing\n"
    sluice("pause", "country", "FR")
    assert "which is FR" in sluice("resume", "country", "DE").err
    result = sluice("resume", "country", "fr", "--reason", "checked")
    assert result.code == 0 and result.out.startswith("country FR: goes on since")
    assert "which is nothing" in sluice("resume", "country", "FR").err
    assert sluice("status", "--json").json["orders"] == []


def test_every_carrier_that_stands_goes_on_at_once(sluice, queue):
    sluice("migrate")
    sluice("pause", "carrier", "north")
    sluice("drain", "carrier", "south")
    result = sluice("resume", "carrier", "all")
    assert [line.split(":")[0] for line in result.out.splitlines()] == ["carrier north", "carrier south"]
    assert "which is nothing" in sluice("resume", "carrier", "all").err

"""`sluice drain`: a carrier of a running worker unbinds, and binds again."""


def phases(sluice):
    (worker,) = sluice("status", "--json").json["workers"]
    carrier = worker["carriers"]["north"]
    return carrier["control"]["stands"], {bind["phase"] for bind in carrier["binds"]}


def test_drained_carrier_unbinds_and_binds_again(sluice, start, queue):
    worker = start("run", "--carrier", "north", "--report-every", "0")
    worker.says("running")
    result = sluice("drain", "carrier", "north", "--reason", "maintenance")
    assert result.code == 0 and result.err == "obeyed by 1 worker\n" and "drained" in result.out
    # Its bind slots are free for other workers then, and none is ours.
    while phases(sluice) != ("drained", set()):
        assert worker.process.poll() is None
    assert sluice("resume", "carrier", "north").err == "obeyed by 1 worker\n"
    while phases(sluice) != ("", {"bound"}):
        assert worker.process.poll() is None
    assert worker.ends().code == 0


def test_all_carriers_are_drained_on_a_second_word(here, settings):
    assert "--yes" in here("drain", "carrier", "all").err


def test_country_is_drained_and_goes_on(here, queue):
    drained = here("drain", "country", "de", "--for", "10m")
    assert drained.code == 0 and drained.out.startswith("country DE: drained since") and "until" in drained.out
    assert here("resume", "country", "DE").out.startswith("country DE: goes on")
    assert here("drain", "country", "Germany").code == 1

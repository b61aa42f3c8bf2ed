"""Every benchmark runs at a tiny size and says all it should; what it measures is no test's business."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import against_codecs, compare, corpus, figures, kannel, live, machine, peers, run, soak
from benchmarks.limit import programs
from gateway.simulator import ledger
from gateway.smpp.pdu import decode

ROOT = Path(__file__).parents[1]


def has_compiler() -> bool:
    try:
        return bool(programs.compiler())
    except programs.NoCompiler:
        return False


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="the sink is a C program, and there is no C compiler")


def result_of(module: str, *arguments: str) -> dict[str, Any]:
    """Run a benchmark as a process and read its result."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=240, env=dict(os.environ, PYTHONPATH=str(ROOT)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert_complete(result)
    return result


def assert_complete(result: dict[str, Any]) -> None:
    """A result has all that README.md promises, and names no place of this machine."""
    assert {"bench", "command", "date", "quick", "machine", "versions", "load", "figures", "details"} <= set(result)
    assert {"cpu", "cores", "kernel", "memory_mb"} <= set(result["machine"])
    assert {"python", "sluice"} <= set(result["versions"])
    assert result["figures"]
    for one in result["figures"]:
        assert {"name", "unit", "value", "min", "max", "rounds", "better", "floor", "aim", "against"} == set(one)
        assert one["min"] <= one["value"] <= one["max"] and one["value"] >= 0 and one["rounds"] >= 1
    names = [one["name"] for one in result["figures"]]
    assert len(names) == len(set(names))
    assert str(ROOT) not in json.dumps(result)


def names_of(result: dict[str, Any]) -> set[str]:
    return {one["name"] for one in result["figures"]}


def a_figure(name: str = "x", values: tuple[float, ...] = (1.0, 2.0, 3.0), **more: Any) -> dict[str, Any]:
    return figures.figure(name, values, "ns", **more)


def a_result(*found: dict[str, Any]) -> dict[str, Any]:
    return figures.result("x", list(found), {}, quick=False, load=None)


# The C programs ------------------------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("window", [1, 10, 1000])
def test_c_client_has_every_message_answered(window: int) -> None:
    with programs.sink() as sink:
        found = programs.run_client(sink.port, 2000, window)
    assert (found["responses"], found["receipts"], found["errors"]) == (2000, 0, 0)
    assert sink.counted["submits"] == 2000 and sink.counted["strangers"] == 0


@needs_compiler
def test_c_client_answers_every_receipt_even_when_they_fill_the_buffers() -> None:
    with programs.sink(receipts=True) as sink:
        found = programs.run_client(sink.port, 100_000, 50_000, receipts=True)
    assert (found["responses"], found["receipts"], found["errors"]) == (100_000, 100_000, 0)
    assert sink.counted["receipts"] == sink.counted["receipt_responses"] == 100_000


@needs_compiler
def test_one_send_a_message_is_one_send_a_message() -> None:
    with programs.sink() as sink:
        assert programs.run_client(sink.port, 500, 100, one_by_one=True)["sends"] == 500


@needs_compiler
def test_receipts_go_to_those_who_ask_and_our_pool_finds_their_messages() -> None:
    with programs.sink(receipts=True) as sink:
        without = programs.run_pool(sink.port, 300, 100)
        asked = programs.run_pool(sink.port, 300, 100, receipts=True)
    assert (without["responses"], without["receipts"]) == (300, 0)
    assert (asked["responses"], asked["receipts_matched"], asked["errors"]) == (300, 300, 0)


@needs_compiler
def test_sink_nacks_a_stranger_and_closes_at_a_length_that_cannot_be() -> None:
    import socket
    import struct

    with programs.sink() as sink:
        with socket.create_connection(("127.0.0.1", sink.port), 5) as link:
            link.sendall(struct.pack(">IIII", 16, 0x00000103, 0, 7))
            assert struct.unpack(">IIII", link.recv(16, socket.MSG_WAITALL)) == (16, 0x80000000, 3, 7)
            link.sendall(struct.pack(">IIII", 0x7FFFFFFF, 4, 0, 8))
            assert link.recv(1) == b""
    assert sink.counted["strangers"] == 1


@needs_compiler
def test_client_that_finds_nobody_says_so() -> None:
    [port] = kannel.free_ports(1)
    with pytest.raises(RuntimeError, match="connect"):
        programs.run_client(port, 10, 10)


def test_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "HERE", tmp_path / "benchmarks" / "limit")
    with pytest.raises(programs.NoCompiler, match="no C compiler"):
        programs.compiler()


# Texts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", corpus.CASES, ids=lambda case: case.name)
def test_every_message_of_a_case_has_its_length_and_another_text(case: corpus.Case) -> None:
    texts = corpus.texts_of(case, 200)
    assert {corpus.units_of(text, case.alphabet) for text in texts} == {case.units}
    assert len(set(texts)) == 200
    assert texts == corpus.texts_of(case, 200) != corpus.texts_of(case, 200, seed=corpus.SEED + 1)


@pytest.mark.parametrize("case", corpus.CASES, ids=lambda case: case.name)
def test_all_encoders_make_as_many_segments(case: corpus.Case) -> None:
    assert against_codecs.ours(case, 10)() == 10 * case.segments
    assert against_codecs.ours_claimed(case, 10)() == 10 * case.segments
    assert against_codecs.smpplib(case, 10)() == 10 * case.segments


def test_text_cut_by_hand_is_whole_again_without_its_headers() -> None:
    [text] = corpus.texts_of(corpus.CASES[1], 1)
    parts = against_codecs.parts_by_hand(text, "gsm7", 7)
    assert [part[:6] for part in parts] == [bytes((5, 0, 3, 7, 3, number)) for number in (1, 2, 3)]
    assert b"".join(part[6:] for part in parts).decode("latin-1") == text


@pytest.mark.parametrize("tlvs", [True, False])
def test_made_receipt_is_a_deliver_sm(tlvs: bool) -> None:
    assert "deliver_sm" in str(decode(corpus.receipts(1, tlvs=tlvs)))


# Figures -------------------------------------------------------------------------------------------------------------


def test_figure_is_the_median_of_its_rounds() -> None:
    one = a_figure(values=(3.0, 1.0, 10.0))
    assert (one["value"], one["min"], one["max"], one["rounds"]) == (3.0, 1.0, 10.0, 3)


@pytest.mark.parametrize(
    ("better", "value", "said"),
    [
        (figures.HIGHER, 0.9, "aim reached"),
        (figures.HIGHER, 0.7, "floor reached"),
        (figures.HIGHER, 0.3, "0.50 of the floor"),
        (figures.LOWER, 0.5, "aim reached"),
        (figures.LOWER, 1.2, "2.00 of the floor"),
    ],
)
def test_verdict_says_what_is_reached_in_either_direction(better: str, value: float, said: str) -> None:
    assert figures.verdict(a_figure(values=(value,), better=better, floor=0.6, aim=0.8)) == said


def test_figure_of_which_nothing_is_asked_has_no_verdict() -> None:
    assert figures.verdict(a_figure()) == ""


def test_rounds_are_interleaved() -> None:
    order: list[str] = []
    figures.interleaved(2, [("a", lambda: order.append("a")), ("b", lambda: order.append("b"))])
    assert order == ["a", "b", "a", "b"]


def test_table_shows_floor_and_aim_beside_each_figure() -> None:
    text = figures.table([a_figure("pool / C", (0.7, 0.71, 0.72), floor=0.6, aim=0.8), a_figure("alone", (1.0,))])
    assert "0.6" in text and "0.8" in text and "floor reached" in text and "one round" in text


def test_stored_result_reads_back(tmp_path: Path) -> None:
    written = a_result(a_figure())
    assert compare.read(figures.write(tmp_path / "new", written)) == written
    assert_complete(written)


# Comparison ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "better", "verdict"),
    [
        ((9.0, 10.0, 11.0), (10.0, 10.5, 11.0), figures.LOWER, "noise"),
        ((9.0, 10.0, 11.0), (19.0, 20.0, 21.0), figures.LOWER, "worse"),
        ((9.0, 10.0, 11.0), (19.0, 20.0, 21.0), figures.HIGHER, "better"),
        ((10.0,), (20.0,), figures.HIGHER, "one round: no spread to judge by"),
    ],
)
def test_change_is_told_from_noise(old: tuple[float, ...], new: tuple[float, ...], better: str, verdict: str) -> None:
    change, said = compare.judged(a_figure(values=old, better=better), a_figure(values=new, better=better))
    assert change is not None and said == verdict


def test_comparison_names_another_machine_and_figures_that_came_and_went() -> None:
    old, new = a_result(a_figure("kept"), a_figure("left")), a_result(a_figure("kept"), a_figure("came"))
    old["machine"] = {"cpu": "abacus", "cores": 1}
    text = "\n".join(compare.lines(old, new))
    assert "another machine: abacus" in text and "came  new" in text and "left  gone" in text


def test_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ValueError, match="expected a result"):
        compare.read(tmp_path / "x.json")


# The scripts ---------------------------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.slow
def test_pool_is_held_against_the_limit() -> None:
    result = result_of("against_limit", "--rounds", "1", "--scale", "0.002")
    for window in ("window 10", "window 100", "window 1000", "window 100 with receipts"):
        assert f"pool / C, {window}" in names_of(result)
    judged = [one for one in result["figures"] if one["name"].startswith("pool / C")]
    assert [one["floor"] for one in judged] == [0.6, 0.6, 0.6, 0.5]


@pytest.mark.slow
def test_encoders_are_held_against_each_other() -> None:
    result = result_of("against_codecs", "--rounds", "1", "--messages", "10")
    assert {"gsm_80: ours", "gsm_400: ours", "ucs2_120: ours", "gsm_80: smpplib"} <= names_of(result)
    if importlib.util.find_spec("smpp34"):
        assert "gsm_400: times smpp34" in names_of(result)


@needs_compiler
@pytest.mark.slow
def test_peers_that_are_here_are_measured_and_the_others_named() -> None:
    libraries = [name for name in ("ours", *peers.LIBRARIES)]
    result = result_of("peers", "--rounds", "1", "--scale", "0.01", "--only", *libraries)
    skipped = result["details"]["skipped"]
    assert set(skipped) == set(peers.missing(libraries))
    for name in libraries:
        assert name in skipped or {name, f"{name} with receipts"} <= names_of(result), result["details"]["failed"]


def test_kannel_that_is_not_installed_is_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kannel, "executables", lambda: None)
    assert "apt-get install kannel" in kannel.measure(10, 10, False)["skipped"]
    assert "apt-get install kannel" in peers.missing(["kannel"])["kannel"]


@needs_compiler
@pytest.mark.slow
@pytest.mark.skipif(kannel.executables() is None, reason="Kannel is not installed (Debian: apt-get install kannel)")
def test_kannel_submits_what_it_accepted() -> None:
    found = kannel.measure(200, 100, receipts=True)
    assert (found["accepted"], found["responses"], found["receipts"]) == (200, 200, 200)


@pytest.mark.covers("X.2")
@pytest.mark.slow
def test_lives_are_run() -> None:
    result = result_of("end_to_end", "--rounds", "1", "--messages", "2000")
    assert {"whole life", "CPU, all processes", "memory of the worker", "gate on / off, messages/s"} <= names_of(result)
    assert result["details"]["runs"][0]["complete"]
    assert [result["details"][name][0]["admitted"] for name in ("runs", "gated")] == [0, 2000]


@pytest.mark.slow
def test_the_gate_is_asked_by_itself() -> None:
    names = names_of(result_of("gate", "--rounds", "1", "--people", "6000"))
    assert {"1 chunks a claim: CPU, Postgres", "8 chunks of 10 a claim: a claim, p99"} <= names


@pytest.mark.slow
def test_imports_are_run() -> None:
    assert {"import", "parsed and validated, without Postgres"} <= names_of(
        result_of("importing", "--rounds", "1", "--rows", "2000")
    )


@pytest.mark.slow
def test_compiled_rooms_are_measured_one_by_one() -> None:
    names = names_of(result_of("micro", "--quick"))
    for room in ("bench_encode", "bench_segment", "bench_inbound", "bench_window", "bench_queue"):
        assert any(name.startswith(f"{room}: ") for name in names)


def test_run_knows_a_module_for_every_name_and_stores_no_quick_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert all((ROOT / "benchmarks" / f"{module}.py").exists() for module in run.MODULES.values())
    monkeypatch.setattr(run, "run", lambda name, quick: a_result(a_figure(floor=1.0, aim=3.0)))
    monkeypatch.setattr(sys, "argv", ["run.py", "encode", "--quick", "--results", str(tmp_path)])
    assert run.main() == 0 and list(tmp_path.iterdir()) == []
    assert "floor reached" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["run.py", "N=encode", "--results", str(tmp_path)])
    assert run.main() == 0 and [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert run.main() == 0 and "noise" in capsys.readouterr().out


def test_run_says_what_could_not_be_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "run", lambda name, quick: None)
    monkeypatch.setattr(sys, "argv", ["run.py", "all", "--results", str(tmp_path)])
    assert run.main() == 1


def test_carriers_say_how_near_even_pacing_comes_to_its_rate() -> None:
    result = result_of("carriers", "gaps", "--quick")
    assert {f"gap pacing, {tps}/s{what}" for tps in (100, 500) for what in ("", ", refused", ", CPU")} == names_of(
        result
    )
    assert all(0 < run["sent"] <= 1.02 for runs in result["details"]["gaps"].values() for run in runs)


def test_texts_of_an_audience_are_counted_both_ways() -> None:
    names = names_of(result_of("bench_render", "--quick"))
    assert {"plain texts", "full texts", "full language alone, one process"} <= names


def test_fullest_second_is_looked_for_wherever_it_starts() -> None:
    assert live.fullest_second([0.0, 0.5, 0.9, 1.4, 1.45, 2.5]) == 4
    assert live.fullest_second([0.0, 1.0, 2.0]) == 1
    assert live.fullest_second([]) == 0


def test_share_of_the_refused_is_that_of_the_seconds_asked_for() -> None:
    def arrived(at_s: float, status: int) -> ledger.Message:
        return ledger.Message(
            run=1, at_ns=int((100 + at_s) * 1e9), link=1, system_id="x", sequence=1, source="", destination="",
            esm_class=0, data_coding=0, registered=0, octets=0, content="", status=status, message_id="",
        )  # fmt: skip

    messages = [arrived(0.0, 0x58), *(arrived(1.0 + at / 10, 0x58 if at == 3 else 0) for at in range(10))]
    assert live.between(messages, 1.0, 2.0) == (10.0, 9.0, pytest.approx(0.1))
    assert live.between(messages, 0.0, 0.5) == (2.0, 0.0, 1.0)


@pytest.mark.parametrize("case", ["receipts-early", "receipt-forms"])
def test_receipts_of_every_form_and_early_ones_are_all_matched(case: str) -> None:
    result = result_of("carriers", case, "--quick")
    value = {one["name"].rpartition(", ")[2]: one["value"] for one in result["figures"]}
    (details,) = result["details"].values()
    assert value["matched"] == 100.0 and value["false"] == 0, details
    if case == "receipt-forms":
        assert value["taken for MO"] == value["MO taken for receipts"] == 0
        assert details["run"]["handsets"]["heard"] > 0


def test_carriers_say_what_bends_and_what_does_not() -> None:
    result = result_of("carriers", "far", "late", "--quick")
    assert names_of(result) == {"10 → 200 ms, window", "10 → 200 ms, rate of 500", "1000/s, 20 ms"}
    assert set(result["details"]) == {"far", "late"}


def test_unknown_benchmark_is_refused_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "speed"])
    with pytest.raises(SystemExit):
        run.main()
    assert (
        "limit, encode, peers, life, gate, import, ingest, links, render, carriers, micro, all"
        in capsys.readouterr().err
    )


def test_every_file_of_benchmarks_is_told_in_its_readme() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    files = [path.name for path in (ROOT / "benchmarks").glob("*.py") if path.name != "__init__.py"]
    files += ["sink.c", "client.c"]
    assert [name for name in files if name not in text] == []


def test_stored_results_are_whole_runs_of_known_benchmarks() -> None:
    for path in figures.RESULTS.glob("*.json"):
        result = compare.read(path)
        assert path.stem in run.MODULES and result["bench"] == path.stem
        assert not result["quick"]
        assert_complete(result)


def test_core_of_client_and_sink_differ_or_neither_is_pinned() -> None:
    if machine.client_core() is None:
        assert machine.sink_core() is None and machine.pinned(None) is None
    else:
        assert machine.client_core() != machine.sink_core()


def looked(at_s: float, *, memory_mb: float = 50.0, descriptors: int = 20, **tables: int) -> dict[str, Any]:
    return {
        "at_s": at_s, "done": int(at_s * 100), "left": 5, "memory_mb": memory_mb, "descriptors": descriptors,
        "tables": tables,
    }  # fmt: skip


def test_soak_tells_what_grew_and_what_is_appended_in_octets_a_message() -> None:
    steady = [looked(at, outcome=at * 1000, flush=5000) for at in range(0, 100, 5)]
    told, grown = soak.judge(steady)
    assert grown == [] and told["rate_per_s"] == 100 and told["octets_a_message"]["outcome"] == 10.0
    leaking = [looked(at, memory_mb=50 + at, descriptors=20 + at, flush=at << 20) for at in range(0, 100, 5)]
    told, grown = soak.judge(leaking)
    assert [one.split(":")[0] for one in grown] == ["memory_mb", "descriptors", "table flush"]
    with pytest.raises(ValueError, match="at least 6 samples"):
        soak.judge(steady[:4])


async def test_soak_holds_its_rate_for_a_moment() -> None:
    samples = await soak.soak(6.0, 500, 1, 0.3)
    assert samples[-1]["done"] > 500
    assert soak.judge(samples)[0]["memory_mb"][1] > 0

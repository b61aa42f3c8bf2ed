"""Seeded mistakes: each can still be made, and is found by the invariant that its head names.

All of them, two minutes each at most: ./dev simulate --bugs (docs/simulation.md).
"""

import tomllib
from pathlib import Path

import pytest

from tests.simulation import hunt

NAMES = [bug.name for bug in hunt.bugs()]
KINDS = {"F1", "S1", "A1", "A2", "A3", "A4", "A5", "R1", "T1", "T2", "O1", "L1", "B1", "G1", "G2", "G3", "G4"}
PATCH = """what: two is one
seen by: T2
--- a/one.py
+++ b/one.py
@@ -1,2 +1,2 @@
 one = 1
-two = 2
+two = 1
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_can_still_be_made(name: str) -> None:
    (bug,) = hunt.bugs([name])
    made = hunt.changed(bug, hunt.ROOT)
    assert made.keys() == set(bug.paths)
    for path, text in made.items():
        assert text != (hunt.ROOT / path).read_text()
        if path.endswith(".py"):
            compile(text, path, "exec")


def test_there_are_twenty_mistakes_at_least_and_each_was_found_by_an_invariant_of_its_head() -> None:
    found = hunt.known()
    assert found.keys() == set(NAMES)
    assert len(NAMES) >= 20
    for bug in hunt.bugs():
        assert set(bug.seen_by) <= KINDS
        assert set(bug.seen_by) & set(str(found[bug.name]["by"]).split(", ")), bug.name


def test_a_watermark_that_moves_before_its_commit_is_found_by_an_invariant() -> None:
    (bug,) = hunt.bugs(["01-watermark-before-its-commit"])
    found = hunt.hunt(bug, 30.0, hunt.MESSAGES)
    assert found.seed is not None and "A2" in found.kinds
    assert ": A2: " in found.told


def test_without_a_mistake_nothing_is_found(tmp_path: Path) -> None:
    hunt.copy(None, hunt.ROOT, tmp_path)
    found = hunt.search("none", sorted(KINDS), 2.0, 100, tmp_path)
    assert found.seed is None and found.worlds > 0


def test_a_process_of_worlds_that_breaks_is_told_of_and_is_no_mistake_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none: the worlds ended with 1"):
        hunt.search("none", ["A1"], 1.0, 100, tmp_path)


def test_a_patch_is_read_with_its_head(tmp_path: Path) -> None:
    path = tmp_path / "07-two.patch"
    path.write_text(PATCH)
    bug = hunt.read(path)
    assert (bug.name, bug.what, bug.seen_by, bug.paths) == ("07-two", "two is one", ("T2",), ["one.py"])
    path.write_text(PATCH.replace("seen by: ", ""))
    with pytest.raises(ValueError, match="07-two.patch: expected a line"):
        hunt.read(path)


def test_a_hunk_is_found_by_its_lines_wherever_they_stand(tmp_path: Path) -> None:
    bug = hunt.Bug("two", "two is one", ("T2",), PATCH.partition("T2\n")[2])
    (tmp_path / "one.py").write_text("zero = 0\nhalf = 0.5\none = 1\ntwo = 2\n")
    assert hunt.changed(bug, tmp_path) == {"one.py": "zero = 0\nhalf = 0.5\none = 1\ntwo = 1\n"}


@pytest.mark.parametrize(("text", "times"), [("one = 1\ntwo = 3\n", 0), ("one = 1\ntwo = 2\n" * 2, 2)])
def test_a_hunk_that_is_not_there_once_is_refused(tmp_path: Path, text: str, times: int) -> None:
    bug = hunt.Bug("two", "two is one", ("T2",), PATCH.partition("T2\n")[2])
    (tmp_path / "one.py").write_text(text)
    with pytest.raises(ValueError, match=f"two: one.py: expected these lines once, found them {times} times"):
        hunt.changed(bug, tmp_path)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the beginning of a name"):
        hunt.bugs(["99-none"])


def test_what_was_found_is_kept_beside_what_was_found_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunt, "FOUND", tmp_path / "found.toml")
    hunt.keep([hunt.Hunted("01-a", 3, ("A1", "L1"), 3, 1.5), hunt.Hunted("02-b", None, (), 9, 120.0)])
    hunt.keep([hunt.Hunted("03-c", 7, ("R1",), 7, 2.5)])
    found = tomllib.loads(hunt.FOUND.read_text())["found"]
    assert list(found) == ["01-a", "03-c"]
    assert (found["01-a"]["by"], found["01-a"]["seed"], found["01-a"]["cpu_s"]) == ("A1, L1", 3, 1.5)
    assert hunt.known() == found


@pytest.mark.parametrize(("name", "code"), [("01-a", 1), ("02-b", 0)])
def test_what_was_found_before_and_is_not_now_ends_the_command_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, code: int
) -> None:
    bug = hunt.Bug(name, "a mistake", ("A1",), "")
    monkeypatch.setattr(hunt, "bugs", lambda names: [bug])
    monkeypatch.setattr(hunt, "known", lambda: {"01-a": {"seed": 1}})
    monkeypatch.setattr(hunt, "hunt", lambda bug, *rest: hunt.Hunted(bug.name, None, (), 5, 120.0))
    assert hunt.sweep([], 120.0, 100, 1, False) == code
    assert ("found before and not now: 01-a" in capsys.readouterr().out) == bool(code)

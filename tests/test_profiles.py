"""Profiles: ours are right, each on its own and all that fit together; and layers lie in their order."""

import pytest

from gateway.config import CarrierSettings, decode
from gateway.dispatch.compose import form_of
from gateway.profiles import Profile, lay, lineage, loop_of, shipped
from gateway.smpp import status

# Without GSM there is nothing to pack.
OPPOSITES = [{"latin1-default", "packed-7bit"}]


def profiles(**sections):
    """Profiles by name: (parents, values)."""
    return {name: Profile(name=name, inherits=parents, values=values) for name, (parents, values) in sections.items()}


@pytest.mark.parametrize("name", shipped())
def test_profile_of_ours_needs_nothing_but_a_host(name):
    found = []
    settings = decode({"carriers": {"x": {"profile": name, "host": "h"}}}, "", found)
    assert found == []
    assert settings.lineages["x"][-1] == name
    carrier = settings.carriers["x"]
    status.overrides(carrier.statuses)
    form_of("x", carrier)
    assert carrier != CarrierSettings(host="h", profile=name)


@pytest.mark.parametrize("name", shipped())
def test_profile_of_ours_has_one_sentence(name):
    about = shipped()[name].about
    assert about.endswith(".") and ". " not in about and len(about) > 20


def test_profiles_of_ours_are_right_in_pairs():
    """Two of ours, inherited at once, contradict only where one denies what the other is about."""
    wrong = []
    for one in shipped():
        for other in shipped():
            found = []
            decode(
                {
                    "profiles": {"both": {"inherits": [one, other]}},
                    "carriers": {"x": {"profile": "both", "host": "h"}},
                },
                "",
                found,
            )
            if found and "relaxed-3.3" not in (one, other) and {one, other} not in OPPOSITES:
                wrong.append((one, other, found))
    assert wrong == []


def test_later_parent_goes_over_an_earlier_one_and_the_profile_over_both():
    known = profiles(a=((), {"x": 1, "y": 1, "z": 1}), b=((), {"y": 2, "z": 2}), c=(("a", "b"), {"z": 3}))
    laid = lay({}, ["c"], known)
    assert laid.values == {"x": 1, "y": 2, "z": 3}
    assert laid.origins == {"x": "profile a", "y": "profile b", "z": "profile c"}


def test_profile_that_is_inherited_twice_comes_in_once_and_first():
    known = profiles(root=((), {}), a=(("root",), {}), b=(("root",), {}), c=(("a", "b"), {}))
    assert lineage("c", known) == ("root", "a", "b", "c")


def test_loop_and_unknown_parent_are_left_out_of_a_lineage():
    known = profiles(a=(("b", "gone"), {}), b=(("a",), {}))
    assert lineage("a", known) == ("b", "a")
    assert loop_of("a", known) == ("a", "b", "a")
    assert loop_of("gone", known) == ()


def test_table_over_what_is_no_table_replaces_it():
    known = profiles(a=((), {"x": 1}))
    assert lay({"x": {"k": 2}}, ["a"], known).values == {"x": {"k": 2}}


def test_entry_of_a_table_is_the_same_in_capitals_and_in_small_letters():
    known = profiles(a=((), {"statuses": {"RSYSERR": "retry", "0x45": "retry"}}))
    assert lay({"statuses": {"rsyserr": "reject"}}, ["a"], known).values["statuses"] == {
        "0x45": "retry",
        "rsyserr": "reject",
    }

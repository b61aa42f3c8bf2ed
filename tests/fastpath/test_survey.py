"""Counting messages: the same as asking for each of them alone, and at once."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.alphabet import is_gsm
from _fastpath.batch import Batch
from _fastpath.outbound import Form, explain
from _fastpath.survey import Survey
from _fastpath.template import Template

TEXTS = st.lists(st.sampled_from(["a" * 30, "é", "€", "ș", "漢", "🦊", "👩‍👩‍👧", "x y", "{", "“"]), max_size=12).map(
    "".join
)
NUMBERS = st.sampled_from([447700900001, 4917012345678, 331, 12025550123, 99])


def picked(forms):
    return lambda head: forms.get(str(head)[0])


@given(
    st.lists(st.tuples(NUMBERS, st.none() | TEXTS), min_size=1, max_size=20), st.sampled_from(["off", "safe", "lossy"])
)
def test_what_is_counted_is_what_each_message_alone_comes_to(rows, transliterate):
    template = Template("Hi {{ a }}!")
    form = Form(template, max_parts=2, transliterate=transliterate)
    wide = Form(template, alphabets=("ucs2",), max_parts=3)
    forms = {"4": (form, "GB"), "3": (wide, "FR"), "1": (form, "US")}
    survey = Survey(picked(forms))
    survey.add(Batch.of(1, [number for number, _ in rows], [[value] for _, value in rows]))
    parts, alphabets, refused, forcing, countries = Counter(), Counter(), Counter(), Counter(), {}
    for number, value in rows:
        form_of_it, country = forms.get(str(number)[0], (None, ""))
        people, sum_parts = countries.get(country, (0, 0))
        if form_of_it is None:
            refused["no_route"] += 1
            countries[country] = (people + 1, sum_parts)
            continue
        found = explain(form_of_it, [value])
        countries[country] = (people + 1, sum_parts + found["segments"])
        if found["reason"] is not None:
            refused[found["reason"]] += 1
            continue
        parts[found["segments"]] += 1
        alphabets[found["alphabet"]] += 1
        if found["alphabet"] == "ucs2":
            forcing.update({one for one in found["text"] if not is_gsm(one)})
    assert survey.counts() == {
        "people": len(rows), "parts": parts, "alphabets": alphabets, "refused": refused, "forcing": forcing,
        "countries": countries, "transliterated": survey.counts()["transliterated"],
    }  # fmt: skip


def test_the_worst_is_the_longest_and_of_those_the_first():
    survey = Survey(picked({"4": (Form(Template("{{ a }}"), max_parts=3), "GB")}))
    assert survey.worst is None
    survey.add(Batch.of(1, [44, 45, 46], [["a" * 161], ["漢" * 71], ["b" * 300]]))
    assert survey.worst == (46, ["b" * 300], 2, 300, "gsm7")
    survey.add(Batch.of(2, [47], [["漢" * 400]]))
    assert survey.worst == (47, ["漢" * 400], 7, None, None)


def test_a_character_is_counted_once_a_message():
    survey = Survey(picked({"4": (Form(Template("{{ a }}")), "GB")}))
    survey.add(Batch.of(1, [44, 45, 46], [["ș ș 🦊🦊"], ["ș"], ["a"]]))
    assert survey.counts()["forcing"] == {"ș": 2, "🦊": 1}


def test_a_form_is_picked_once_for_each_beginning_of_numbers():
    asked = []

    def pick(head):
        asked.append(head)
        return Form(Template("x")), "GB"

    Survey(pick).add(Batch.of(1, [447700900001, 447700911111, 447700999999, 12, 447700900001]))
    assert asked == [44770090, 44770091, 44770099, 12]


def test_a_batch_without_the_columns_of_a_form_is_refused():
    with pytest.raises(ValueError, match="the template has 1 fields, the batch 0 columns"):
        Survey(picked({"4": (Form(Template("{{ a }}")), "GB")})).add(Batch.of(1, [44]))


def test_what_picks_may_fail_and_nothing_else_does():
    def pick(head):
        raise KeyError(head)

    with pytest.raises(KeyError):
        Survey(pick).add(Batch.of(1, [44]))

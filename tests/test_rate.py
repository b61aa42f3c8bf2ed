"""Words of a rate, a ramp, a budget and a threshold are read; what is none says what was expected."""

from typing import Any

import pytest

from gateway.rate import (
    CostSettings,
    RatePlan,
    Threshold,
    cost_problems,
    length_words,
    rate_words,
    read_budget,
    read_over,
    read_ramp,
    read_rate,
    read_share,
    read_threshold,
)


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (read_over, "3h", 10_800),
        (read_over, " 90s ", 90),
        (read_rate, "100/s", 100.0),
        (read_rate, "5000/h", 5000 / 3600),
        (read_rate, "1.5 / m", 0.025),
        (read_ramp, "1%,10%,100%", (0.01, 0.1, 1.0)),
        (read_share, " 8.5 %", 0.085),
        (read_ramp, "5%, 20%", (0.05, 0.2, 1.0)),
        (read_budget, "500 EUR", (500.0, "EUR")),
        (read_threshold, "failure 20% of 100", Threshold(kind="failure", share=0.2, least=100)),
        (read_threshold, "opt_out 2.5%", Threshold(kind="opt_out", share=0.025)),
    ],
)
def test_th_1_words_are_read(read: Any, text: str, expected: Any) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (read_over, "3", "a length"),
        (read_over, "0h", "a length"),
        (read_over, "32d", "31 days"),
        (read_over, "٣h", "a length"),
        (read_rate, "100", "a rate"),
        (read_rate, "0/s", "a rate"),
        (read_rate, "-1/s", "a rate"),
        (read_ramp, "", "rising shares"),
        (read_ramp, "10%,5%", "rising shares"),
        (read_ramp, "10%,101%", "rising shares"),
        (read_ramp, "0%", "rising shares"),
        (read_budget, "500", "an amount and a currency"),
        (read_budget, "0 EUR", "an amount and a currency"),
        (read_threshold, "failures 20%", "failure, throttle"),
        (read_share, "8", "a share"),
        (read_share, "0%", "a share"),
        (read_threshold, "failure 0%", "failure, throttle"),
        (read_threshold, "failure 20% of 0", "failure, throttle"),
    ],
)
def test_what_is_none_says_what_was_expected(read: Any, text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read(text)


def test_plan_is_said_as_it_was_written() -> None:
    assert RatePlan().words == "asap"
    plan = RatePlan(
        over_s=10_800, ramp=(0.01, 1.0), budget=500, currency="EUR", thresholds=(read_threshold("failure 20% of 9"),)
    )
    assert plan.words == "over 3h; ramp 1%, 100%; budget 500 EUR; pause at failure 20% of 9"
    assert RatePlan(per_s=5000 / 3600).words == "5000/h"
    assert RatePlan(clicks_per_min=200).words == "at most 200 clicks a minute"
    assert (length_words(90), rate_words(0.1234567), rate_words(2.0)) == ("90s", "0.123/s", "2/s")


@pytest.mark.covers("S4.50")
def test_costs_are_those_of_the_carrier_before_those_of_all() -> None:
    costs = CostSettings(
        currency="EUR", countries={"*": 0.05, "DE": 0.07}, carriers={"acme": {"GB": 0.03}, "other": {"*": 0.01}}
    )
    found = [costs.of(*each) for each in (("acme", "GB"), ("acme", "DE"), ("acme", "FR"), ("other", "DE"))]
    assert found == [0.03, 0.07, 0.05, 0.01]
    assert costs.dearest("acme") == 0.07 and CostSettings().of("acme", "GB") is None
    assert cost_problems(costs, {"DE", "GB"}, {"acme", "other"}) == []
    wrong = CostSettings(countries={"XX": 1.0}, carriers={"nobody": {}})
    assert [key for key, _, _ in cost_problems(wrong, {"DE"}, {"acme"})] == [
        "costs.countries.XX", "costs.carriers.nobody", "costs.currency",
    ]  # fmt: skip

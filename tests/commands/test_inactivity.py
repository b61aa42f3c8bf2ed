"""What is proposed and what is inactive, as it is said: capabilities S0.11 to S0.13."""

from gateway.commands._inactivity import inactive_shares, proposal_lines, proposals, share_lines
from gateway.store.inactivity import Repeated


def test_s0_12_the_proposal_names_the_median_and_the_percentile() -> None:
    gaps = {28: 60, 40: 30, 90: 10}
    told = proposals(30, gaps, [Repeated(days=30, purchases=200, followed=50)], 90)
    assert told["rhythm"] == {"every_days": 30, "least_days": 180, "most_days": 365}
    assert (told["purchases"]["days"], told["purchases"]["median_days"]) == (40, 28)
    said = "\n".join(proposal_lines(told))
    assert "180 to 365 days" in said and "40 days: 90 % of 100 gaps are no longer; 1.4 times the median of 28" in said
    assert "25.0% of 200 purchases" in said


def test_what_there_is_too_little_for_is_said() -> None:
    said = "\n".join(proposal_lines(proposals(None, {}, [], 90)))
    assert "--every DAYS" in said and "nobody has bought a second time" in said
    assert "it says little" in "\n".join(proposal_lines(proposals(1, {10: 2}, [], 90)))


def test_s0_13_shares_are_of_all_people_and_of_those_who_ever_bought() -> None:
    shares = inactive_shares({"order": {10: 1, 90: 2, None: 7}, "any": {}}, [60])
    assert shares["order"] == {"people": 10, "never": 7, "inactive": {"60": 9}}
    assert shares["buyers"] == {"people": 3, "never": 0, "inactive": {"60": 2}}
    said = "\n".join(share_lines(shares))
    assert "90.0%" in said and "66.7%" in said and "of 0 people" in said

"""Numbers of cards are kept nowhere: rule IN-10."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cards import MASK, has_card, masked


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("4111111111111111", "••••••••••••1111"),
        ("card 4111 1111 1111 1111 exp 12/29", "card •••• •••• •••• 1111 exp 12/29"),
        ("5555-5555-5555-4444", "••••-••••-••••-4444"),
        ("amex 378282246310005!", "amex •••••••••••0005!"),
        ("3056 930902 5904", "•••• •••••• 5904"),
        ("٤١١١١١١١١١١١١١١١", "••••••••••••١١١١"),
        ("2 x 4111 1111 1111 1111", "2 x •••• •••• •••• 1111"),
        ("my cvv is 123", "my cvv is •••"),
        ("CVC: 4321", "CVC: ••••"),
    ],
)
def test_in_10_the_number_of_a_card_is_hidden_but_for_its_end(text: str, kept: str) -> None:
    assert masked(text) == kept and has_card(text)


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",
        "+44 7700 900123",
        "order 1234567890123456",
        "2026-11-22 12:30",
        "yes",
        "",
        "123",
        "DE89 3704 0044 0532 0130 00",
    ],
)
def test_in_10_what_is_no_card_stays_as_it_is(text: str) -> None:
    assert masked(text) == text and not has_card(text)


@given(st.text(max_size=120))
def test_in_10_a_text_keeps_its_length_and_is_hidden_once_for_all(text: str) -> None:
    once = masked(text)
    assert len(once) == len(text)
    assert all(a == b or b == MASK for a, b in zip(text, once, strict=True))
    assert masked(once) == once


@given(st.integers(0, 10**15 - 1), st.sampled_from([" ", "-", ""]), st.text("abc ", max_size=5))
def test_in_10_every_visa_is_found_however_it_is_grouped(body: int, mark: str, around: str) -> None:
    digits = "4" + f"{body:015d}"[:14]
    total = sum(d - 9 if d > 9 else d for d in (int(c) * (2 - at % 2) for at, c in enumerate(digits)))
    number = digits + str(-total % 10)
    said = mark.join(number[at : at + 4] for at in range(0, 16, 4))
    assert has_card(f"{around}{said}{around}")

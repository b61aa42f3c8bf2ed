"""What a person's words do to an order by text: rule IN-10, as functions of facts."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.campaign.ordering import Meant, Move, buying, expire, hear, is_address, key_of, meant
from gateway.keywords import words
from gateway.offer import BUY_AFTER, OPEN, STATES, Facts, Offer, Standing

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
UNTIL = NOW + timedelta(days=2)
OFFER = Offer(url="https://shop.example/orders", product="beans", address="address", most=5)
FACTS = Facts(price=1290, currency="EUR", name="Beans", stock=9, address="1 High Street, Leeds")


class Talk:
    """A person who writes, a minute between two texts, and how their order stands."""

    def __init__(self, offer: Offer = OFFER, facts: Facts = FACTS):
        self.offer, self.facts, self.standing, self.now = offer, facts, Standing(at=NOW), NOW

    def hears(self, text: str, **after: float) -> Move | None:
        self.now += timedelta(**(after or {"minutes": 1}))
        now = self.now + timedelta(seconds=1)
        move = hear(self.offer, self.standing, text, at=self.now, until=UNTIL, now=now, facts=self.facts)
        if move is not None:
            self.standing = move.standing
        return move

    def says(self, *texts: str) -> list[str]:
        """What is answered to each; "-" where it is about something else."""
        return ["-" if move is None else move.say for move in map(self.hears, texts)]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("BUY", "", Meant("buy", 1)), ("buy 2", "", Meant("buy", 2, 1)), ("Buy2!", "", Meant("buy", 2, 1)),
        ("I'd like two please", "en", Meant("buy", 2, 2)), ("2", "", Meant("number", 2)),
        ("three", "", Meant("number", 3)),
        ("2 x", "", Meant("number", 2)), ("acheter 3", "fr", Meant("buy", 3, 1)), ("購入2個", "ja", Meant("buy", 2, 2)),
        ("Ich möchte zwei", "de", Meant("buy", 2, 1)), ("satın al 4", "tr", Meant("buy", 4, 1)),
        ("buy 2 or 3", "", Meant("buy", 0, 3)), ("buy 2.5", "", Meant("buy", 0, 2)), ("buy 0", "", Meant("buy", 0, 1)),
        ("buy -3", "", Meant("buy", 0, 1)), ("YES please", "", Meant("yes")), ("👍", "", Meant("yes")),
        ("oui", "fr", Meant("yes")), ("no thanks", "", Meant("no")), ("yes but when does it come, and how", "", None),
        ("yes?", "", None), ("order status?", "", None), ("hello", "", None), ("", "", None), ("room 7", "", None),
    ],
)  # fmt: skip
def test_in_10_words_of_an_order_are_read_in_every_language_and_nothing_is_guessed(
    text: str, language: str, expected: Meant | None
) -> None:
    assert meant(text, language) == expected


def test_in_10_no_word_of_buying_is_a_word_of_compliance() -> None:
    known = words((), ())
    said = [" ".join(one) for one in buying()]
    assert len(said) > 100 and [one for one in said if known.wish(one) in ("stop", "start", "help")] == []


@pytest.mark.covers("S4.29")
def test_in_10_buy_is_told_the_price_and_yes_orders() -> None:
    talk = Talk()
    assert talk.says("BUY 2", "yes") == ["price", ""]
    assert (talk.standing.state, talk.standing.quantity, talk.standing.price) == ("ordering", 2, 1290)
    assert talk.standing.address == "1 High Street, Leeds"


def test_in_10_who_has_no_address_is_asked_for_it_and_what_is_none_is_asked_again() -> None:
    talk = Talk(facts=structs.replace(FACTS, address=""))
    assert talk.says("buy", "yes", "here") == ["ask_address", "address_again", "address_again"]
    move = talk.hears("Al. Jerozolimskie 5,\nWarszawa")
    assert move is not None and (move.say, move.told) == ("price", "Al. Jerozolimskie 5, Warszawa")
    assert talk.says("3", "buy 2", "ok")[:2] == ["price", "price"] and talk.standing.state == "ordering"
    assert (talk.standing.quantity, talk.standing.address) == (2, "Al. Jerozolimskie 5, Warszawa")


@pytest.mark.parametrize("text", ["what?", "12", "x" * 301 + " y", "- . -"])
def test_in_10_what_cannot_be_an_address_is_none(text: str) -> None:
    assert not is_address(text)


def test_in_10_double_yes_and_every_word_behind_it_order_nothing_again() -> None:
    talk = Talk()
    assert talk.says("buy", "yes", "yes", "buy 3", "YES") == ["price", "", "", "", ""]
    talk.standing = structs.replace(talk.standing, state="ordered")
    assert talk.says("yes", "buy", "buy 2", "is it blue?") == ["", "already", "already", "-"]
    assert talk.hears("buy", days=8) is None


def test_in_10_a_yes_before_the_price_or_long_behind_it_confirms_nothing() -> None:
    talk = Talk()
    assert talk.says("yes") == ["-"]
    talk.hears("buy")
    assert talk.standing.asked_at is not None
    early = hear(OFFER, talk.standing, "yes", at=talk.now, until=UNTIL, now=talk.now, facts=FACTS)
    assert early == Move(standing=talk.standing)
    talk.facts = structs.replace(FACTS, price=1590)
    late = talk.hears("yes", minutes=16)
    assert late is not None and (late.say, late.standing.price, late.standing.state) == ("price", 1590, "confirming")


def test_in_10_the_price_that_was_told_is_the_price_while_it_holds() -> None:
    talk = Talk()
    talk.hears("buy")
    talk.facts = structs.replace(FACTS, price=9990)
    talk.hears("yes")
    assert (talk.standing.state, talk.standing.price) == ("ordering", 1290)


def test_in_10_stock_is_asked_again_when_it_is_confirmed() -> None:
    talk = Talk()
    talk.hears("buy 3")
    talk.facts = structs.replace(FACTS, stock=2)
    short = talk.hears("yes")
    assert short is not None and (short.say, short.stock, short.standing.state) == ("fewer", 2, "offered")
    assert talk.says("buy 2") == ["price"]
    talk.facts = structs.replace(FACTS, stock=0)
    assert talk.says("yes", "buy") == ["sold_out", "sold_out"] and talk.standing.state == "sold_out"


def test_in_10_no_leaves_it_and_buy_begins_another_try_with_another_key() -> None:
    talk = Talk()
    assert talk.says("buy", "no thanks", "yes", "no", "buy", "yes") == ["price", "cancelled", "-", "", "price", ""]
    assert (talk.standing.state, talk.standing.nonce) == ("ordering", 2)
    assert key_of(5, 7, "beans", 3, 2) == "5:7.beans.3:2"


def test_in_10_an_offer_that_is_over_is_said_to_be_once() -> None:
    talk = Talk()
    assert talk.hears("what is it?", days=2) is None
    assert talk.says("BUY", "BUY") == ["expired", "-"] and talk.standing.state == "expired"
    silent = expire(Standing(at=NOW), UNTIL)
    assert (silent.say, silent.standing.tried) == ("", 0)


def test_in_10_what_is_not_understood_three_times_is_for_people() -> None:
    talk = Talk()
    talk.hears("buy")
    moves = [talk.hears("is it blue") for _ in range(3)]
    assert [move.say for move in moves if move] == ["again", "again", ""]
    assert moves[-1] is not None and moves[-1].needs_people and not moves[-1].is_sure
    talk = Talk()
    assert talk.says("buy 6", "buy 0", "buy 99") == ["how_many", "how_many", ""] and talk.standing.state == "unreadable"


def test_in_10_the_number_of_a_card_is_refused_and_changes_nothing() -> None:
    talk = Talk()
    talk.hears("buy")
    before = talk.standing
    assert talk.says("card ••••••••••••1234") == ["card"] and talk.standing == before


def test_in_10_what_nobody_knows_the_price_of_is_for_people() -> None:
    move = Talk(facts=Facts()).hears("buy")
    assert move is not None and move.needs_people


TEXTS = st.sampled_from(
    ["BUY", "buy 2", "3", "YES", "yes please", "no", "hello", "4 Low Road, York", "buy 99", "yes?", "card ••••1234", ""]
)
HEARD = st.lists(st.tuples(TEXTS, st.integers(0, 4000), st.sampled_from([0, 1, 5])), max_size=40)


@pytest.mark.covers("S4.29")
@given(heard=HEARD, said=st.lists(st.booleans(), min_size=1), stock=st.lists(st.integers(-1, 6), min_size=1))
def test_in_10_whatever_comes_twice_late_or_in_another_order_there_is_one_order_at_the_most(
    heard: list[tuple[str, int, int]], said: list[bool], stock: list[int]
) -> None:
    """Texts in the order that they came, each written some time before: duplicates, late ones, a shop that answers."""
    standing, now, orders = Standing(at=NOW), NOW, 0
    for at, (text, after, late) in enumerate(heard):
        now += timedelta(seconds=after)
        written = now - timedelta(minutes=late)
        facts = structs.replace(FACTS, stock=stock[at % len(stock)], address="" if said[at % len(said)] else "1 A, B")
        move = hear(OFFER, standing, text, at=written, until=UNTIL, now=now, facts=facts)
        if move is None:
            continue
        if move.standing.state == "ordering" and standing.state != "ordering":
            orders += 1
            was, quantity = standing, standing.quantity
            assert was.state == "confirming" and was.asked_at is not None and was.asked_at < written < UNTIL
            assert facts.stock is not None and 1 <= quantity <= min(OFFER.most, facts.stock) and was.address
        if standing.state not in OPEN:
            assert move.standing.state == standing.state, "what is over stays so"
        standing = move.standing
        if standing.state == "ordering" and said[at % len(said)]:
            standing = structs.replace(standing, state=STATES[STATES.index("ordered") + at % 3], at=now)
    assert orders <= 1


def test_in_10_words_of_an_old_order_mean_something_else() -> None:
    done = Standing(state="ordered", at=NOW)
    assert hear(OFFER, done, "buy", at=NOW + BUY_AFTER, until=UNTIL, now=NOW, facts=FACTS) is not None
    assert hear(OFFER, done, "yes", at=NOW + timedelta(days=2), until=UNTIL, now=NOW, facts=FACTS) is None

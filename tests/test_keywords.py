"""What handsets write when they have had enough, and what only looks like it."""

import pytest

from gateway.keywords import number_of, tokens_of, words


@pytest.mark.parametrize(
    "text",
    [
        "STOP", "stop", " Stop. ", "STOP!!!", "“Stop”", "s\u200btop", "ＳＴＯＰ", "STOPALL", "stop all", "END", "quit",
        "Cancel", "UNSUBSCRIBE", "revoke", "OPT OUT", "opt-out", "OptOut", "remove", "🛑", "Arrêt", "arrete", "BAJA",
        "no más", "sair", "Stopp", "СТОП", "στοπ", "ΣΤΟΠ", "הסר", "إلغاء", "बंद", "停止", "수신거부", "退订",
        "stop please", "Please stop", "STOP it", "stop texts now", "stop, thanks", "STOP.\n", "stop\0",
        "СТОР", "SТОР", "stpo", "stip", "sto0p", "unsubcribe", "Please do not text me", "don't text me", "take me off",
        "remove me from your list", "wrong number",
    ],
)  # fmt: skip
def test_a_handset_that_has_had_enough_is_understood(text: str) -> None:
    assert words().wish(text) == "stop"


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "...", "yes", "ok thanks", "cancel my order", "can you stop by at five", "stop by", "can't stop",
        "end of the week", "quit smoking", "top", "shop", "step", "spot", "stay", "send", "and", "t", "n",
        "please", "thanks", "when does it end", "this is the end my friend", "non stop music",
        "I cannot cancel it today",
        "stop " * 60, "what time do you open", "STOPlight", "start when you like", "order 12", "0", "\ufffd",
    ],
)  # fmt: skip
def test_an_ordinary_message_stops_nothing(text: str) -> None:
    assert words().wish(text) is None


@pytest.mark.parametrize("text", ["START", "unstop", "Subscribe!", "start please"])
def test_start_is_read_as_such(text: str) -> None:
    assert words().wish(text) == "start"


@pytest.mark.parametrize("text", ["stat", "starts", "strat", "yes", "resubscribe me"])
def test_nothing_near_a_start_subscribes_anybody(text: str) -> None:
    assert words().wish(text) != "start"


def test_single_letters_stop_where_carriers_have_taught_them() -> None:
    assert words().wish("TD", 8613800138000) == "stop"
    assert words().wish("t", 886912345678) == "stop"
    assert words().wish("TD", 447700900000) is None


def test_words_of_the_settings_come_on_top() -> None:
    more = words(stop=("Genug!",), start=("wieder da",))
    assert more.wish("GENUG") == "stop" and more.wish("Wieder  da") == "start" and more.wish("stop") == "stop"
    assert words().wish("genug") is None


def test_accents_case_and_marks_are_folded() -> None:
    assert tokens_of("  Ça--VA?\u200d  o’k ") == ("ca", "va", "ok")


@pytest.mark.parametrize(
    ("address", "prefix", "number"),
    [
        ("447700900000", "", 447700900000),
        ("+44 7700 900-000", "", 447700900000),
        ("00447700900000", "", 447700900000),
        ("07700900000", "44", 447700900000),
        ("+07700900000", "44", 7700900000),
        ("٤٤٧٧٠٠٩٠٠٠٠٠", "", 447700900000),
        ("４４７７００９０００００", "", 447700900000),
        ("Brand", "", None),
        ("", "", None),
        ("+", "", None),
        ("0", "", None),
        ("1" * 19, "", None),
        ("²", "", 2),
        ("12a", "", None),
    ],
)
def test_a_handset_is_the_same_however_its_number_is_written(address: str, prefix: str, number: int | None) -> None:
    assert number_of(address, prefix) == number

"""The key of erased numbers: rule CN-12."""

import pytest

from gateway.erasure import NOBODY, Erased, derived, is_number, key_in, shown
from gateway.errors import ConfigError, StoreError

NUMBER = 447700900123
KEY = derived(bytes(32))


def test_who_was_erased_is_known_by_the_key_alone() -> None:
    erased = Erased(KEY.digest, KEY, KEY.of([NUMBER]))
    assert erased and erased.among([NUMBER, NUMBER + 1, 0]) == {NUMBER}
    assert not NOBODY and NOBODY.among([NUMBER]) == set()
    with pytest.raises(StoreError, match="SLUICE_KEY: expected the key that numbers were erased with, found none"):
        Erased(KEY.digest, None)
    with pytest.raises(StoreError, match="found another one"):
        Erased(KEY.digest, derived(b"x" * 32))


def test_the_key_is_that_of_secrets_and_its_digest_tells_nothing_of_it() -> None:
    assert key_in({}) is None
    made = key_in({"SLUICE_KEY": "00" * 32})
    assert made is not None and made.digest == KEY.digest and made.of([NUMBER]) == KEY.of([NUMBER])
    assert bytes(4) not in made.digest and derived(b"x" * 32).digest != made.digest
    with pytest.raises(ConfigError):
        key_in({"SLUICE_KEY": "short"})


def test_what_stands_for_a_number_is_shown_as_such() -> None:
    pseudonym = KEY.of([NUMBER])[0]
    assert not is_number(pseudonym) and is_number(NUMBER)
    assert shown(NUMBER) == "+447700900123" and str(pseudonym) not in shown(pseudonym)

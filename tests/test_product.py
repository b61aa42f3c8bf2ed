"""What a shop sells: a product of a feed needs an id and a name, and says nothing that it was not told."""

import msgspec
import pytest

from gateway.product import Product, Shop


def test_a_product_says_no_more_than_it_was_told() -> None:
    told = {"id": "p1", "name": "Cap"}
    assert msgspec.to_builtins(msgspec.convert(told, Product)) == told
    with pytest.raises(msgspec.ValidationError, match="name"):
        msgspec.convert({"id": "p1"}, Product)
    assert not msgspec.convert({"id": "s1", "name": "Leeds", "lat": 53.8, "lon": -1.55}, Shop).is_default

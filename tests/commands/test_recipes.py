"""`sluice recipes`, as a person meets it."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway import document, recipe
from gateway.__main__ import main


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["recipes", *words])


def test_every_recipe_is_listed_with_its_sentence() -> None:
    found = run().output
    assert all(f"{one.name:22} {one.says}" in found for one in recipe.gallery().values())


@pytest.mark.covers("S2.26")
def test_recipe_becomes_a_document_with_two_inputs() -> None:
    found = run("cart_abandoned", "--brand", "shop2", "--set", "url=https://two.example/cart")
    assert found.exit_code == 0
    made, problems = document.read(found.output.encode())
    assert made is not None, problems
    assert made.brand == "shop2" and made.links["go"].url == "https://two.example/cart"
    assert "# url = https://two.example/cart" in found.output


def test_without_a_brand_it_is_said_what_a_recipe_needs() -> None:
    found = run("cart_abandoned")
    assert found.exit_code == 0 and "--set least='20'" in found.output and "cart_updated with cart_id" in found.output


@pytest.mark.covers("S1.11")
def test_series_is_written_into_a_folder_with_its_offers_and_what_is_to_be_done_with_them(tmp_path: Path) -> None:
    to = tmp_path / "campaigns"
    found = run("winback", "--brand", "acme", "--set", "shop=Joe's", "--to", str(to))
    assert found.exit_code == 0, found.output
    assert sorted(one.name for one in to.iterdir()) == [
        "winback_30.offer.toml", "winback_30.toml", "winback_60.offer.toml", "winback_60.toml", "winback_upsell.toml",
    ]  # fmt: skip
    assert f"sluice coupon pool create winback-30 {to / 'winback_30.offer.toml'}" in found.output
    assert f"sluice campaign apply {to / 'winback_30.toml'}" in found.output
    again = run("winback", "--brand", "acme", "--to", str(to))
    assert again.exit_code == 65 and "expected a folder without winback_30.toml" in again.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "found 'nothing'"),
        (["winback", "--brand", "acme"], "--to FOLDER writes them"),
        (["quiz", "--set", "shop=A"], "expected --brand NAME"),
        (["quiz", "--brand", "acme", "--set", "shop"], "expected INPUT=WORDS, found 'shop'"),
        (["quiz", "--brand", "acme", "--set", "shap=A"], "shap: expected an input"),
        (["cart_abandoned", "--brand", "acme", "--set", "least=much ("], "would be no campaign"),
    ],
)
def test_what_makes_no_campaign_is_refused(words: list[str], said: str) -> None:
    found = run(*words)
    assert found.exit_code == 65 and said in found.output

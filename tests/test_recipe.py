"""The gallery: every recipe is a campaign as it stands, and what is said of its inputs is only words."""

import re
import runpy
import tomllib
from pathlib import Path

import msgspec
import pytest

from gateway import document, recipe
from gateway.campaign import workflow
from gateway.coupon import Coupon
from gateway.coupon import problems_of as coupon_problems
from gateway.page import page_of
from gateway.recipe import FOLDER, OFFER, PAGE, Recipe

ROOT = Path(__file__).parents[1]
SAID = {"brand": "acme"}
each = pytest.mark.parametrize("one", recipe.gallery().values(), ids=lambda one: one.name)


@each
@pytest.mark.parametrize("shop", ["Acme", "Joe's Café", "50 % & more [new]"])
def test_recipe_is_a_campaign_whatever_the_shop_is_called(one: Recipe, shop: str) -> None:
    said = SAID | ({"shop": shop} if any(each.name == "shop" for each in one.inputs) else {})
    assert recipe.problems_of([one], said) == []
    for name, text in recipe.files_of(one, said).items():
        if name.endswith(OFFER):
            offer = msgspec.toml.decode(text.encode(), type=Coupon)
            assert coupon_problems("coupon", offer) == []
        elif name.endswith(PAGE):
            assert page_of(tomllib.loads(text))[1] == []
        else:
            found, problems = document.read(text.encode())
            assert found is not None, problems
            assert workflow.plan_of(found)[1] == []
            assert found.goals or found.aim
            assert found.name == one.name.replace("_", "-")


@each
def test_head_says_what_it_is_for_which_rows_it_shows_and_which_words_are_yours(one: Recipe) -> None:
    assert one.says[-1] in ".?" and one.group and one.rows and one.needs
    files = [one.text, *((FOLDER / name).read_text() for name in one.also)]
    asked = {name for text in files for name in re.findall(r"%([a-z_]+)%", text)}
    assert asked == {recipe.BRAND} | {each.name for each in one.inputs}


def test_no_file_of_the_folder_is_nobodys() -> None:
    beside = {name for one in recipe.gallery().values() for name in one.also}
    files = {path.name for path in FOLDER.iterdir()}
    assert files == beside | {f"{name}.toml" for name in recipe.gallery()}
    assert (ROOT / "examples" / "recipes").resolve() == FOLDER


def test_series_is_its_recipes_and_a_name_may_have_dashes() -> None:
    """S1.11: the pair is one recipe."""
    assert [one.name for one in recipe.named("winback")] == ["winback_30", "winback_60", "winback_upsell"]
    assert [one.name for one in recipe.named("cart-abandoned")] == ["cart_abandoned"]
    assert recipe.named("nothing") == []


@pytest.mark.parametrize("value", ['a "b"', "a\\b", "a\nb", "{{ x }}", " "])
def test_words_that_could_be_more_than_words_are_refused(value: str) -> None:
    [found] = recipe.problems_of(recipe.named("welcome"), {"shop": value})
    assert found[0] == "shop" and found[2] == repr(value)


def test_input_that_no_recipe_has_is_refused_with_those_there_are() -> None:
    assert recipe.problems_of(recipe.named("welcome"), {"shap": "x"}) == [
        ("shap", "an input: brand, shop, url", "'shap'")
    ]


@pytest.mark.parametrize("text", ["# Says.\n#\n# input  x\n", "# Says.\n#\n# accepts x\n", "# Says.\n#wrong\n"])
def test_head_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="recipe x: expected"):
        recipe.read("x", text)


def test_page_of_recipes_is_drawn_from_their_files() -> None:
    drawn = runpy.run_path(str(ROOT / "docs" / "draw_recipes.py"))["draw"]()
    assert drawn == (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")

"""The linter is run over every text of every recipe: what it warns of is mended, or the recipe says why it is meant."""

import msgspec
import pytest

from gateway import document, recipe
from gateway.automation.composing import class_of, template_of
from gateway.campaign import linter, workflow
from gateway.coupon import Coupon
from gateway.recipe import OFFER, PAGE


@pytest.mark.parametrize("name", sorted(recipe.gallery()))
def test_linter_warns_of_nothing_in_a_recipe_but_what_it_says_is_meant_TP_11(name: str) -> None:
    one = recipe.gallery()[name]
    files = recipe.files_of(one, {"brand": "acme"})
    offers = {
        file.removesuffix(OFFER).replace("_", "-"): msgspec.toml.decode(text, type=Coupon)
        for file, text in files.items()
        if file.endswith(OFFER)
    }
    facts = linter.Facts(brand="Acme", footer="STOP to end")
    found = set()
    for text in (text for file, text in files.items() if not file.endswith((OFFER, PAGE))):
        made, problems = document.read(text.encode())
        assert made is not None, problems
        for _, step in workflow.plan_of(made)[0].sends():
            template = template_of(made, step, class_of(made, step))
            if template.coupon is not None and template.coupon.name in offers:
                offer = offers[template.coupon.name]
                template = msgspec.structs.replace(
                    template, coupon=msgspec.structs.replace(template.coupon, code=offer.code, life=offer.life)
                )
            codes = {each.code for each in linter.lint(template, facts) if each.severity != "hint"}
            assert codes <= one.accepts.keys(), step.text
            found |= codes
    assert found == one.accepts.keys(), "what is said to be meant is warned of"

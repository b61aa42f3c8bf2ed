"""Draw docs/recipes.md from the files of the gallery: `python docs/draw_recipes.py`."""

import tomllib
from pathlib import Path

from gateway import recipe
from gateway.recipe import Recipe

HEAD = """\
# Recipes

Drawn by `docs/draw_recipes.py` from `gateway/recipes/`; a test holds them together, and another one plays each of them.

    sluice recipes                                                what there is
    sluice recipes cart_abandoned                                 what one needs, and which words are yours to say
    sluice recipes cart_abandoned --brand acme --set shop=Acme --set url=https://acme.example/cart > cart.toml
    sluice recipes winback --brand acme --to campaigns/           a series, with its offers: a file each
    sluice campaign apply --check cart.toml                       as any other campaign from here on: campaigns.md

What is written is yours: change what you like. A recipe of a series is one of several that belong together. Files
beside a document are offers (`sluice coupon pool create`) and landing pages (`sluice page apply`): apply them first.
"""


def draw() -> str:
    """Give the whole page."""
    groups: dict[str, list[Recipe]] = {}
    for one in recipe.gallery().values():
        groups.setdefault(one.group, []).append(one)
    parts = [HEAD]
    for group, some in groups.items():
        head = "| recipe | what | begins by | needs | rows |"
        lines = [f"\n## {group[0].upper()}{group[1:]}\n", head, "|---|---|---|---|---|"]
        for one in some:
            began = tomllib.loads(recipe.files_of(one, {"brand": "acme"})[f"{one.name}.toml"])["trigger"]["on"]
            name = f"`{one.name}`" + (f" of `{one.series}`" if one.series else "")
            beside = "".join(f", `{file}`" for file in one.also)
            lines.append(f"| {name}{beside} | {one.says} | {began} | {one.needs} | {' '.join(one.rows)} |")
        parts.append("\n".join(lines) + "\n")
    return "".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "recipes.md").write_text(draw(), encoding="utf-8")

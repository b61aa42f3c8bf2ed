"""`sluice recipes`: campaigns that are ready but for a few words."""

from pathlib import Path

import click

from gateway import document, recipe
from gateway.campaign import workflow
from gateway.commands._options import Refused, said_plainly, say
from gateway.commands.campaign import problem_lines
from gateway.recipe import OFFER, PAGE, Recipe


@click.command()
@click.argument("name", required=False)
@click.option("--brand", default="", help="A brand of the settings, [brands.NAME].")
@click.option("--set", "sets", multiple=True, metavar="INPUT=WORDS", help="What is said of an input; may be repeated.")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), help="A folder: all files are written there.")
def recipes(name: str | None, brand: str, sets: tuple[str, ...], to: Path | None) -> None:
    """List recipes; with NAME say what one needs; with --brand too write its document.

    A recipe of several files, a series or one with an offer or a page, is written into the folder of --to.
    """
    with said_plainly():
        if name is None:
            _list()
            return
        found = recipe.named(name)
        if not found:
            raise Refused(f"recipe: expected one of {', '.join(_names())}, found {name!r}")
        if not brand:
            if sets or to is not None:
                raise Refused("recipe: expected --brand NAME, the brand that sends, found none")
            _describe(found)
            return
        said = {"brand": brand} | dict(_pair(one) for one in sets)
        if problems := recipe.problems_of(found, said):
            raise Refused(f"recipe {name!r}\n{problem_lines(problems)}")
        files: dict[str, str] = {}
        for one in found:
            words = {key: value for key, value in said.items() if key == recipe.BRAND or key in _inputs(one)}
            files |= recipe.files_of(one, words)
        _check(name, files)
        if to is not None:
            _write(files, to)
        elif len(files) > 1:
            raise Refused(f"recipe {name!r} is {len(files)} files ({', '.join(files)}): --to FOLDER writes them")
        else:
            click.echo("".join(files.values()), nl=False)


def _inputs(one: Recipe) -> set[str]:
    return {each.name for each in one.inputs}


def _names() -> list[str]:
    return list(dict.fromkeys(one.series or one.name for one in recipe.gallery().values()))


def _pair(text: str) -> tuple[str, str]:
    key, mark, value = text.partition("=")
    if not mark:
        raise Refused(f"--set: expected INPUT=WORDS, found {text!r}")
    return key.strip(), value.strip()


def _list() -> None:
    groups: dict[str, list[Recipe]] = {}
    for one in recipe.gallery().values():
        groups.setdefault(one.group, []).append(one)
    for group, some in groups.items():
        click.echo(group)
        for one in some:
            of = f" (of {one.series})" if one.series else ""
            click.echo(f"  {one.name:22} {one.says}{of}")


def _describe(found: list[Recipe]) -> None:
    for one in found:
        click.echo(f"{one.name}: {one.says}")
        if one.needs:
            click.echo(f"  needs  {one.needs}")
        for each in one.inputs:
            click.echo(f"  --set {each.name}={each.default!r}  {each.says}")
        for code, why in one.accepts.items():
            click.echo(f"  {code}, which the linter warns of, is meant: {why}")
        if one.also:
            click.echo(f"  with   {', '.join(one.also)}")


def _check(name: str, files: dict[str, str]) -> None:
    """Refuse words that make no document: what is said stands in conditions and texts."""
    for file, text in files.items():
        if file.endswith((OFFER, PAGE)):
            continue
        made, problems = document.read(text.encode())
        if made is not None:
            problems = workflow.plan_of(made)[1]
        if problems:
            raise Refused(f"recipe {name!r}: {file} would be no campaign\n{problem_lines(problems)}")


def _write(files: dict[str, str], to: Path) -> None:
    there = [file for file in files if (to / file).exists()]
    if there:
        raise Refused(f"{to}: expected a folder without {', '.join(there)}, found one with")
    to.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (to / file).write_text(text, encoding="utf-8")
    for file in files:
        if file.endswith(PAGE):
            say(f"sluice page apply {to / file}")
        elif file.endswith(OFFER):
            say(f"sluice coupon pool create {pool_of(file)} {to / file}")
    documents = [file for file in files if not file.endswith((OFFER, PAGE))]
    say(f"sluice campaign apply {' '.join(str(to / file) for file in documents)}")


def pool_of(file: str) -> str:
    """Say of which pool an offer of the gallery is."""
    return file.removesuffix(OFFER).replace("_", "-")

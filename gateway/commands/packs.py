"""`sluice packs`: what a country asks for, each value with where it comes from and how sure it is."""

import json
from typing import Any

import click
import msgspec

from gateway.campaign import law
from gateway.commands._options import Refused, said_plainly
from gateway.rules import WINDOWS, Pack, text_of, words_of


@click.command()
@click.argument("country", required=False)
@click.option("--region", default="", help="A state or another part of it, such as TX.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def packs(country: str | None, region: str, as_json: bool) -> None:
    """Print the rules of COUNTRY (two letters) with their sources; without one, the window of every country.

    Confidence: A primary text seen, B several sources agree, C one source or practice, D to be verified. No legal
    advice: data that a lawyer corrects.
    """
    with said_plainly():
        known = law.packs()
    if country is None:
        for code, pack in sorted(known.items()):
            if as_json:
                click.echo(json.dumps({"country": code, **document_of(pack)}, ensure_ascii=False))
            else:
                more = f"  and {', '.join(sorted(pack.regions))}" if pack.regions else ""
                click.echo(f"{code or 'default':8}{text_of(pack.promo_window)}{more}")
        return
    code = country.upper()
    if code not in known:
        raise Refused(
            f"packs: expected one of {', '.join(filter(None, sorted(known)))}, found {country!r}: the default holds"
        )
    if region and region.upper() not in known[code].regions:
        regions = ", ".join(sorted(known[code].regions)) or "none"
        raise Refused(f"packs: expected a region of {code} that has rules of its own ({regions}), found {region!r}")
    pack = law.pack_of(code, region.upper())
    if as_json:
        click.echo(json.dumps({"country": code, "region": region.upper(), **document_of(pack)}, ensure_ascii=False))
        return
    click.echo(f"{code}{'-' + region.upper() if region else ''}, version {pack.version}; no legal advice")
    values = document_of(pack)["values"]
    for path, origin in pack.origins.items():
        value: Any = values
        for key in path.split("."):
            value = value[key]
        said = (
            text_of(getattr(pack, path))
            if path in WINDOWS and value is not None
            else json.dumps(value, ensure_ascii=False)
        )
        click.echo(f"  {path:22} {said}")
        click.echo(f"  {'':22}   {origin.conf}  {origin.src} ({origin.pack}, {origin.checked})")
    if pack.regions:
        click.echo(f"  with rules of their own: {', '.join(sorted(pack.regions))}")


def document_of(pack: Pack) -> dict[str, Any]:
    """Return a pack as JSON has it: values, and by their paths the origins."""
    values = {
        name: getattr(pack, name)
        for name in pack.__struct_fields__
        if name not in ("country", "region", "version", "origins", "regions")
    }
    for name in WINDOWS:
        values[name] = None if values[name] is None else words_of(values[name])
    return {
        "version": pack.version,
        "values": msgspec.to_builtins(values),
        "origins": msgspec.to_builtins(pack.origins),
        "regions": sorted(pack.regions),
    }

"""`sluice carriers`: carriers and profiles; `sluice carriers explain NAME`: every setting, and where it comes from."""

import json
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway.commands._options import config_option, plain, said_plainly, settings_of
from gateway.config import SECRET_KEYS, CarrierSettings, Settings
from gateway.profiles import Profile, shipped

HIDDEN = "(not shown)"


@click.group(invoke_without_command=True)
@config_option
@click.pass_context
def carriers(context: click.Context, config: Path | None) -> None:
    """List the carriers of the settings and the profiles they can be laid over."""
    context.obj = config
    if context.invoked_subcommand is not None:
        return
    with said_plainly():
        settings = settings_of(config)
    for name, carrier in sorted(settings.carriers.items()):
        click.echo(f"carrier  {name}: {carrier.host}:{carrier.port}, {_lineage_of(settings, name)}")
    for profile in (*settings.profiles.values(), *shipped().values()):
        click.echo(_said(profile))


@carriers.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("name")
@click.pass_obj
def explain(above: Path | None, config: Path | None, as_json: bool, name: str) -> None:
    """Print every setting of the carrier NAME as it is in force, and where it comes from; secrets are hidden."""
    with said_plainly():
        settings = settings_of(config or above)
        rows = explained(settings.carrier(name), settings.origins.get(name, {}))
    if as_json:
        document = {
            "carrier": name,
            "profiles": list(settings.lineages.get(name, ())),
            "settings": {key: {"value": value, "from": origin} for key, value, origin in rows},
        }
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"carrier {name}, {_lineage_of(settings, name)}")
    shown = [(key, plain(json.dumps(value, ensure_ascii=False)), origin) for key, value, origin in rows]
    key_room = max(len(key) for key, _, _ in shown)
    value_room = min(40, max(len(value) for _, value, _ in shown))
    for key, value, origin in shown:
        click.echo(f"{key:<{key_room}}  {value:<{value_room}}  {origin}")


def explained(carrier: CarrierSettings, origins: dict[str, str]) -> list[tuple[str, Any, str]]:
    """Say of each setting its value and where it comes from; of a table, each entry."""
    rows: list[tuple[str, Any, str]] = []
    for key, value in msgspec.to_builtins(carrier).items():
        origin = origins.get(key, "default")
        if isinstance(value, dict) and value:
            for entry, each in value.items():
                whence = origins.get(f"{key}.{entry.lower()}", origins.get(f"{key}.{entry}", origin))
                rows.append((f"{key}.{entry}", each, whence))
        else:
            rows.append((key, HIDDEN if key in SECRET_KEYS and value else value, origin))
            if key == "adaptive" and value is None:
                # What follows from other settings: no word of its own is in force.
                rows[-1] = (key, carrier.is_adaptive, "default: where tps is set, and counts PDUs")
    return rows


def _lineage_of(settings: Settings, name: str) -> str:
    found = settings.lineages.get(name, ())
    return f"profiles {' ← '.join(reversed(found))}" if found else "no profile"


def _said(profile: Profile) -> str:
    above = f" (inherits {', '.join(profile.inherits)})" if profile.inherits else ""
    return f"profile  {profile.name}{above}: {plain(profile.about) or 'of sluice.toml'}"

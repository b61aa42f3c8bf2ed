"""`sluice hours`: when a message to a number may leave, by whose clock and by which law; nothing is sent."""

import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.brand import BrandSettings
from gateway.campaign import law, zones
from gateway.campaign.quiet_hours import NEVER, Answer, Hours, Layer, Reason, Rules, never_open, versions
from gateway.campaign.zones import Clues, Source
from gateway.commands._options import Refused, config_option, said_plainly, settings_of
from gateway.commands.route import Number
from gateway.message import MessageClass
from gateway.rules import Problem, read_window, text_of

WHENCE = {
    Source.STATED: "stated by the person (QH-3 1)",
    Source.DEVICE: "the device (QH-3 2)",
    Source.LOCATION: "the last location (QH-3 3)",
    Source.ADDRESS: "the address (QH-3 4)",
    Source.NUMBER: "the number (QH-3 5)",
    Source.POSSIBLE: "every place that the number may mean (QH-3 6, QH-4)",
}
# More places than these are summed up.
MOST_SHOWN = 6


@click.command()
@click.argument("number", type=Number())
@click.option(
    "--class", "class_", type=click.Choice([c.name.lower() for c in MessageClass]), default="bulk", show_default=True
)
@click.option(
    "--at",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]),
    help="Moment, in UTC; by default now.",
)
@click.option("--zone", default="", help="Zone that the person has stated, such as Europe/London.")
@click.option("--country", default="", help="Country of the postal address, two letters.")
@click.option("--region", default="", help="State or part of it, such as TX.")
@click.option(
    "--window",
    "windows",
    multiple=True,
    metavar="WORDS",
    help="One more window, such as '{mon-fri = [\"10:00-18:00\"]}' or 10:00-18:00.",
)
@config_option
@click.option("--brand", metavar="NAME", help="With the windows of a brand of the settings.")
@click.option("--night-consent", is_flag=True, help="The person has consented to messages by night.")
@click.option("--strict", is_flag=True, help="Do not trust the area code of a number (QH-4).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def hours(
    number: int, class_: str, at: datetime | None, zone: str, country: str, region: str, windows: tuple[str, ...],
    config: Path | None, brand: str | None, night_consent: bool, strict: bool, as_json: bool,
) -> None:  # fmt: skip
    """Print when a message to NUMBER may leave: zones and how they are known, windows, open or shut, what comes next.

    Exit code: 0 open, 1 shut, 65 a word that cannot be read.
    """
    if zone and not zones.is_zone(zone):
        raise Refused(f"--zone: expected a name such as Europe/London, found {zone!r}")
    layers = tuple(Layer(name=f"--window {words}", window=_window(words)) for words in windows)
    to_hard_limit = False
    if brand is not None:
        with said_plainly():
            said = settings_of(config).brand(brand)
            layers += _layers_of(brand, said)
            to_hard_limit = said.to_hard_limit
    if country and not zones.zones_of_country(country.upper()):
        raise Refused(f"--country: expected two letters such as GB, found {country!r}")
    now = at.replace(tzinfo=UTC) if at is not None else datetime.now(UTC)
    clues = Clues(number=number, stated=zone, country=country.upper(), region=region.upper())
    mode = law.pack_of(zones.of_prefix(str(number))[0].country).zone_mode
    where = zones.whereabouts(clues, now, is_strict=strict or mode == "strict")
    rules = Rules(
        class_=MessageClass[class_.upper()], layers=layers, has_night_consent=night_consent, to_hard_limit=to_hard_limit
    )
    found = Hours(rules)
    answer, reasons = found.at(where.places, now), found.why(where.places, now)
    nothing = (
        never_open({each.layer: each.window for each in reasons})
        if len(where.places) == 1 and not _is_split(reasons)
        else None
    )
    if as_json:
        click.echo(json.dumps(_document(number, where, answer, reasons, nothing), ensure_ascii=False))
    else:
        click.echo(f"number    +{number}, {class_}, at {now:%a %Y-%m-%d %H:%M:%S} UTC")
        click.echo(f"place     known from {WHENCE[where.source]}")
        for place in where.places[:MOST_SHOWN]:
            shows = now.astimezone(zones.zone(place.zone))
            law_of = "-".join(filter(None, (place.country, place.region))) or "no country"
            click.echo(f"          {place.zone} ({law_of}), where it is {shows:%a %H:%M}")
        if len(where.places) > MOST_SHOWN:
            click.echo(f"          and {len(where.places) - MOST_SHOWN} more")
        for line in dict.fromkeys(map(_said, reasons)):
            click.echo(f"  {line}")
        if not reasons:
            click.echo("  no window for this class (QH-10)")
        if nothing is not None:
            click.echo(f"  can never leave: {nothing}")
        click.echo(_sentence(answer, where.places[0].zone))
        click.echo("data      " + ", ".join(f"{name} {version}" for name, version in versions().items()) + " (QH-12)")
    if not answer.is_open:
        raise SystemExit(1)


def _layers_of(name: str, brand: BrandSettings) -> tuple[Layer, ...]:
    """The windows of a brand, each by its clock."""
    found = []
    for each, words in brand.windows.items():
        window = read_window(words, each, [])
        assert window is not None, "the settings were judged when they were read"
        found.append(Layer(name=f"{name}.{each}", window=window, zone=brand.zone if each in brand.own_clock else ""))
    return tuple(found)


def _window(words: str) -> Any:
    """Read a window from TOML, or from a bare span."""
    value: Any = words
    if words.lstrip().startswith(("{", "[")):
        try:
            value = tomllib.loads(f"window = {words}")["window"]
        except tomllib.TOMLDecodeError as error:
            raise Refused(f"--window: expected words of TOML, found {words!r}: {error}") from None
    problems: list[Problem] = []
    window = read_window(value, "--window", problems)
    if window is None:
        raise Refused("; ".join(f"{key}: expected {expected}, found {found}" for key, expected, found in problems))
    return window


def _is_split(reasons: list[Reason]) -> bool:
    """Whether a law of several regions has a say: their windows are not one another's."""
    return sum(reason.layer.startswith("law of") for reason in reasons) > 1


def _said(reason: Reason) -> str:
    mark = "open" if reason.is_open else "shut"
    rest = ", a holiday" if reason.is_day_off else ""
    return f"{mark}  {reason.layer}: {text_of(reason.window)} by the clock of {reason.zone}{rest} ({reason.rule})"


def _sentence(answer: Answer, zone: str) -> str:
    def moment(second: int) -> str:
        if second >= NEVER:
            return "not within five weeks"
        when = datetime.fromtimestamp(second, UTC)
        return f"{when:%a %Y-%m-%d %H:%M} UTC ({when.astimezone(zones.zone(zone)):%a %H:%M} {zone})"

    guess = "; no moment of the next day suits every place: the most populous decides (zone_guess, QH-4)"
    if answer.is_open and answer.closes_at >= NEVER:
        said = "open      and stays so"
    elif answer.is_open:
        said = f"open      until {moment(answer.closes_at)}; then again {moment(answer.opens_at)}"
    else:
        said = f"shut      opens {moment(answer.opens_at)}"
    return said + (guess if answer.is_guess else "")


def _document(
    number: int, where: zones.Whereabouts, answer: Answer, reasons: list[Reason], nothing: str | None
) -> dict[str, Any]:
    def moment(second: int) -> str | None:
        return None if second >= NEVER else datetime.fromtimestamp(second, UTC).isoformat()

    return {
        "number": f"+{number}",
        "source": where.source.name.lower(),
        "places": [place._asdict() for place in where.places],
        "is_open": answer.is_open,
        "is_guess": answer.is_guess,
        "closes_at": moment(answer.closes_at) if answer.is_open else None,
        "opens_at": moment(answer.opens_at),
        "never": nothing,
        "windows": [
            {
                "layer": each.layer, "rule": each.rule, "zone": each.zone, "window": text_of(each.window),
                "is_open": each.is_open, "is_holiday": each.is_day_off,
            }
            for each in reasons
        ],
        "versions": versions(),
    }  # fmt: skip

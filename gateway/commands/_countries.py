"""What the laws of the recipients' countries ask of a text before anything of it is sent: `send` with a brand.

    recipients by country ─┬─ judge    what must be said and is not: a label's words, the way out, a registered template
                           └─ labelled what a handset there will show, and in how many parts

Not here: whom it may go to and when (the gate), putting the label around the text (dispatch/compose.py).
"""

import difflib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct, structs

from _fastpath.outbound import explain
from _fastpath.template import Template
from gateway.brand import BrandSettings
from gateway.campaign import law
from gateway.commands._campaign import MEANINGS, reason_of
from gateway.commands._options import Refused, plain, say
from gateway.config import CarrierSettings, Settings
from gateway.countries import letters_of
from gateway.dispatch.compose import form_of
from gateway.dispatch.route import plan_of
from gateway.errors import ConfigError
from gateway.gate import Around
from gateway.message import MessageClass
from gateway.routing import RouteTable
from gateway.rules import Problem

SHOWN = 300


class Labelled(Struct, frozen=True, kw_only=True):
    """What people of a country read, whose law puts a label around it.

    text   as the handset shows it, fields being empty
    parts  by carrier; of a text with fields at least so many
    """

    country: str
    people: int
    text: str
    parts: dict[str, int]


def labels_of(brand: BrandSettings, class_: MessageClass) -> dict[str, Around]:
    """Say what stands around a text of a brand, by country; nothing around what does not advertise."""
    return law.labels(brand.label) if class_ in law.PROMOTIONAL else {}


def judge_countries(
    settings: Settings, table: RouteTable, options: Mapping[str, Any], people: Mapping[str, int]
) -> list[Labelled]:
    """Refuse a text that a country's law does not let through; -> what stands around the others.

    people  by country, "" = not known
    raises  ConfigError naming all that is to be set; Refused where the text itself is not so
    """
    name = options["brand"]
    if not name:
        return []
    brand, class_ = settings.brand(name), MessageClass[options["class_"].upper()]
    carriers = _carriers_of(settings, table, class_, options["sender"])
    labels = labels_of(brand, class_)
    problems = _unknown_words(name, brand)
    for country in sorted(people):
        pack = law.pack_of(country)
        if class_ in law.PROMOTIONAL:
            wanted = f"what the label of a text to {country} says (`sluice packs {country}`)"
            lacks = labels[country].lacks if country in labels else ()
            problems += [(f"brands.{name}.label.{field}", wanted, "none") for field in lacks]
            if not brand.footer and law.footer_wanted(pack) == "each":
                problems.append(
                    (f"brands.{name}.footer", f"the way out, which each text to {country} must say", "none")
                )
        if class_ not in law.EXEMPT and country not in brand.international:
            problems += _unregistered(country, carriers.get(country, {}))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    for country in sorted(labels.keys() & people):
        for found in law.label_faults(options["text"], law.pack_of(country)):
            label = law.pack_of(country).label.prefix
            raise Refused(
                f"--text: expected {label} as it stands and in front, or none (it is put there), found {found!r}"
            )
    return [
        _shown(country, people[country], labels[country], options, carriers.get(country, {}))
        for country in sorted(labels.keys() & people)
    ]


def say_countries(
    settings: Settings, options: Mapping[str, Any], people: Mapping[str, int], found: list[Labelled]
) -> None:
    """Say to a person what is put around the text where, and where some texts should tell the way out."""
    for one in found:
        least = "at least " if options["fields"] else ""
        parts = ", ".join(f"{least}{count} parts through {carrier}" for carrier, count in one.parts.items())
        say(f"label       {one.country}: {one.people:,} people read {plain(one.text)[:SHOWN]!r}, {parts}")
    if not options["brand"] or settings.brand(options["brand"]).footer:
        return
    if MessageClass[options["class_"].upper()] not in law.PROMOTIONAL:
        return
    for country in sorted(people):
        pack = law.pack_of(country)
        every = pack.optout.footer_every
        if law.footer_wanted(pack) == "some":
            days = f" and after {every.days} days" if every.days is not None else ""
            when = f"the first text, each {every.messages}th{days}"
            say(
                f"footer      {country or 'no known country'}: {when} should say the way out: "
                f"brands.{options['brand']}.footer is empty"
            )


def _unknown_words(name: str, brand: BrandSettings) -> list[Problem]:
    known = sorted({field for pack in law.packs().values() for field in law.label_fields(pack)})
    problems = []
    for word in brand.label:
        if word not in known:
            close = difflib.get_close_matches(word, known, 1)
            wanted = f"one of {', '.join(known)}" + (f" (did you mean {close[0]}?)" if close else "")
            problems.append((f"brands.{name}.label.{word}", wanted, "a word that no label has"))
    return problems


def _carriers_of(
    settings: Settings, table: RouteTable, class_: MessageClass, sender: str
) -> dict[str, dict[str, tuple[CarrierSettings, str]]]:
    """Carriers that texts to a country may go through, and from whom: by country, by name."""
    lanes = {name: at for at, name in enumerate(table.carriers, 1)}
    names = list(table.carriers)
    found: dict[str, dict[str, tuple[CarrierSettings, str]]] = {}
    for cell in plan_of(table, lanes, class_, sender, datetime.now(UTC), []).cells:
        for lane in (cell.lane, *cell.fallback) if cell.lane else ():
            carrier = settings.carriers[names[lane - 1]]
            source = cell.source or carrier.source
            found.setdefault(letters_of(cell.country), {})[names[lane - 1]] = carrier, source
    return found


def _unregistered(country: str, carriers: Mapping[str, tuple[CarrierSettings, str]]) -> list[Problem]:
    """What a registered template must carry and a carrier does not send: entity and template in TLVs, the sender."""
    problems: list[Problem] = []
    pack = law.pack_of(country)
    for name, (carrier, source) in carriers.items() if pack.dlt is not None else ():
        given = {re.sub(r"[\W_]+", "_", tlv.name.casefold()): tlv.value or tlv.field for tlv in carrier.tlvs}
        for field, wanted, found in law.template_problems(pack, {**given, "header": source}):
            key = f"carriers.{name}.source" if field == "header" else f"carriers.{name}.tlvs"
            what = "" if field == "header" else f"one with name = {field!r}: "
            problems.append((key, f"{what}{wanted} (or {country} in the brand's `international`)", found))
    return problems


def _shown(
    country: str,
    people: int,
    label: Around,
    options: Mapping[str, Any],
    carriers: Mapping[str, tuple[CarrierSettings, str]],
) -> Labelled:
    """Compose it as it will be; Refused where nobody there could be sent it, though others can."""
    parts: dict[str, int] = {}
    text = ""
    for name, (carrier, _) in carriers.items():
        # Its own fields alone are judged here, not those that a carrier wants beside the text.
        form = form_of(options["text"], structs.replace(carrier, tlvs=()), encoding=options["asked"], label=label)
        found = explain(form, [""] * len(Template(options["text"]).fields))
        if found["reason"] is not None:
            reason = reason_of(found["reason"])
            raise Refused(
                f"--text: with the label of {country} it cannot be sent through {name}: {reason}, "
                f"{MEANINGS.get(reason, '')}"
            )
        parts[name], text = found["segments"], found["text"]
    return Labelled(country=country, people=people, text=text, parts=parts)

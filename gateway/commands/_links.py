"""What `sluice send` does about links: a link of its own for everybody in the run's list, as the value link.NAME.

    --link offer=https://shop.acme.example/?c={code}     --link survey=page:spring     --link stop=optout

Not here: where links lead (gateway/link.py), how they are kept (store/links.py), who answers them (gateway.redirect).
"""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime

from gateway.commands._options import Refused, plain
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.link import Link, problems_of, shorteners_in, target_of
from gateway.store import links, postgres

PREFIX = "link."
_PAGE, _OUT = "page:", "optout"


def links_of(given: Sequence[str], life: str) -> dict[str, Link]:
    """Read --link options, by the value that each becomes; Refused where one says nothing, or leads anywhere."""
    found: dict[str, Link] = {}
    for text in given:
        name, _, where = text.partition("=")
        if not name.isidentifier() or not where:
            raise Refused(f"--link: expected NAME=https://…, NAME=page:PAGE or NAME=optout, found {plain(text)}")
        if where.startswith(_PAGE):
            made = Link(page=where.removeprefix(_PAGE), life=life)
        else:
            made = Link(optout=True, life=life) if where == _OUT else Link(url=where, life=life)
        for _, expected, told in problems_of(name, made):
            raise Refused(f"--link {plain(name)}: expected {expected}, found {plain(told)}")
        found[PREFIX + name] = made
    return found


def judge_links(settings: Settings, brand: str, text: str, wanted: Mapping[str, Link], fields: Sequence[str]) -> None:
    """Refuse links that cannot be made, those that a text has and nobody makes, and public shorteners in it (TP-6)."""
    for at, host in shorteners_in(text):
        raise Refused(f"--text: expected a link of your own domain, found {host} at {at}: carriers block shorteners")
    for name in wanted:
        if name not in fields:
            raise Refused(f"--link: expected {{{{ {name} }}}} in the text, found none")
    missing = [name for name in fields if name.startswith(PREFIX) and name not in wanted]
    if missing:
        raise Refused(f"--text: expected --link {missing[0].removeprefix(PREFIX)}=https://…, found none")
    if wanted and (not brand or not settings.brand(brand).link_domain):
        key = f"brands.{brand or 'NAME'}.link_domain"
        raise ConfigError([(key, "a domain of yours for links, and --brand", "none")])


async def link_list(
    connection: postgres.Connection,
    settings: Settings,
    brand: str,
    wanted: Mapping[str, Link],
    *,
    campaign: str,
    list_id: int,
    run: int,
    now: datetime,
) -> None:
    """Give everybody in the list of a run links of this run, whatever they had of others."""
    for name, link in wanted.items():
        target = target_of(link, name.removeprefix(PREFIX), brand=brand, campaign=campaign)
        id_ = await links.keep_target(connection, target, now)
        await links.mint_list(
            connection, list_id, name, settings.brand(brand).link_domain, id_, target.fields, run=run, now=now,
            expires_at=now + link.lifetime, chance=random.SystemRandom(), renews=True,
        )  # fmt: skip

"""The tree of limits of one carrier account: who hangs under which, made from the settings.

    of_bind(name, host)                  bind ─ host ─ account      with the throttle: the account's PDUs a second
    of_batch(sender, campaign, country)  sender ─ campaign ─ country

A limit is made when it is first asked for and lives as long as the carrier; a key of `*` makes one for each sender,
campaign or country that has none of its own. Counting is compiled (_fastpath/limit.pyx). Not here: the adaptive rate
(pace.py), how many may wait for one number (_fastpath/outstanding.pyx).
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from zoneinfo import ZoneInfo

from msgspec import Struct

from _fastpath.limit import Limit
from gateway.config import CarrierSettings, LimitSettings
from gateway.countries import letters_of

ANY = "*"


class Spent(Struct, frozen=True, kw_only=True):
    """What left in a span of time before this process began; of minutes and days of a limit it counts."""

    sender: str
    campaign: str
    country: int
    at: float
    pdus: int
    messages: int


class Limits:
    """The limits of one account on this worker."""

    def __init__(self, settings: CarrierSettings):
        self._settings = settings
        self._hosts: dict[str, Limit] = {}
        self._binds: dict[str, Limit] = {}
        self._by_scope: dict[tuple[str, str], Limit | None] = {}
        self._zone = ZoneInfo(settings.day_zone) if settings.day_zone else None
        self._day: date | None = None
        counts_messages = settings.tps_unit == "message"
        # PDUs a second are the throttle's; messages a second, minutes and days are this one's.
        self.account = Limit(
            "account",
            settings.tps if counts_messages else 0,
            settings.per_minute,
            settings.per_day,
            per_message=counts_messages,
        )

    @property
    def has_spans(self) -> bool:
        """Tell whether any limit counts minutes or days: those outlive a process."""
        settings = self._settings
        scoped = (settings.sender_limits, settings.campaign_limits, settings.country_limits)
        return bool(settings.per_minute or settings.per_day) or any(
            limit.per_minute or limit.per_day for limits in scoped for limit in limits.values()
        )

    @property
    def binds_account(self) -> bool:
        """Tell whether the account has more than its PDUs a second."""
        return bool(self.account.per_s or self.account.per_minute or self.account.per_day)

    def of_bind(self, name: str, host: str) -> tuple[Limit, ...]:
        """Name what a new session of a bind hangs under, the smallest first."""
        settings = self._settings
        found = []
        per_message = settings.tps_unit == "message"
        if settings.bind_tps:
            if name not in self._binds:
                self._binds[name] = Limit(f"bind {name}", settings.bind_tps, per_message=per_message)
            found.append(self._binds[name])
        if settings.host_tps:
            if host not in self._hosts:
                self._hosts[host] = Limit(f"host {host}", settings.host_tps, per_message=per_message)
            found.append(self._hosts[host])
        if self.binds_account:
            found.append(self.account)
        return tuple(found)

    def of_batch(self, sender: str, campaign: str, country: int) -> tuple[Limit, ...]:
        """Name what the messages of a chunk hang under beside their bind."""
        settings = self._settings
        scopes = (
            ("sender", sender, settings.sender_limits),
            ("campaign", campaign, settings.campaign_limits),
            ("country", letters_of(country), settings.country_limits),
        )
        found = (self._scoped(scope, key, limits) for scope, key, limits in scopes if limits)
        return tuple(limit for limit in found if limit is not None)

    def _scoped(self, scope: str, key: str, limits: Mapping[str, LimitSettings]) -> Limit | None:
        place = scope, key
        if place not in self._by_scope:
            wanted = limits.get(key, limits.get(ANY)) if key else None
            self._by_scope[place] = None
            if wanted is not None:
                self._by_scope[place] = Limit(
                    f"{scope} {key}",
                    wanted.tps,
                    wanted.per_minute,
                    wanted.per_day,
                    per_message=wanted.unit == "message",
                )
        return self._by_scope[place]

    def recall(self, spent: Iterable[Spent]) -> None:
        """Count what left before this process began."""
        for one in spent:
            for limit in (self.account, *self.of_batch(one.sender, one.campaign, one.country)):
                limit.recall(one.messages if limit.per_message else one.pdus, one.at)

    def roll(self, wall: datetime) -> None:
        """Begin a new day where the carrier counts days of the calendar; to be called now and then."""
        if self._zone is None:
            return
        today = wall.astimezone(self._zone).date()
        if self._day is not None and today != self._day:
            for limit in (self.account, *(limit for limit in self._by_scope.values() if limit is not None)):
                limit.clear_day()
        self._day = today

    def day_began(self, wall: datetime) -> datetime | None:
        """Say when the carrier's day of the calendar began; None where a day is any 24 hours."""
        if self._zone is None:
            return None
        return wall.astimezone(self._zone).replace(hour=0, minute=0, second=0, microsecond=0)

    def used(self, now: float) -> dict[str, tuple[int, int]]:
        """Tell what the last minute and day of each limit hold, by its name."""
        limits = [self.account, *self._hosts.values(), *(one for one in self._by_scope.values() if one is not None)]
        return {limit.name: limit.used(now) for limit in limits if limit.per_minute or limit.per_day}

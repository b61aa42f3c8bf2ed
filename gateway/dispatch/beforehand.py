"""The gate of a run, asked before there is a text: whom a step of a campaign may write to, and who waits.

    numbers of one run and sender ─► Questions ─► learn, judge ─► verdicts        read alone, nothing is reserved

What is asked is what a claim asks (admission.learn), but for what the step has just asked itself: the filter, the
exceptions, the goal, and who talks with a person of ours. It is no permission: the claim asks once more, and reserves
(TP-3, AB-6).
Not here: what a step does with an answer (automation/carrying.py).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec

from _fastpath.gate import RESERVED, SEND, Questions, Zones, contacts
from _fastpath.numbers import NumberSet
from gateway.campaign.admission import RunRules, micros, moment_of, place_sets
from gateway.dispatch.admission import KEPT, learn
from gateway.dispatch.preview import ASKED, LEFT, UNKNOWN_BRAND, UNKNOWN_TAG, as_asked, as_records, ids_for
from gateway.gate import gate_of
from gateway.message import MessageClass
from gateway.store import admission
from gateway.store.postgres import Connection
from gateway.store.runs import Run

Verdict = tuple[int, datetime | None]
"""0 it may go, 1 it waits until then, below 0 the reason why not."""

# Somebody who waits is not looked at again before this.
LEAST_WAIT = timedelta(seconds=1)


class Beforehand:
    """The gates of all runs of a worker.

    suppressed  gives the sets of who has said STOP, by class and sender: those that a claim asks
    """

    def __init__(self, suppressed: Callable[[int, str], Sequence[NumberSet]]):
        self._suppressed = suppressed
        # 40 ms to make.
        self._zones: Zones | None = None
        self._zone_names: Mapping[int, str] = {}
        # By run and sender, with the gate and the small numbers that they were made of.
        self._rules: dict[tuple[int, str], tuple[str, int, dict[str, int], RunRules]] = {}

    async def ask(
        self, connection: Connection, run: Run, sender: str, numbers: Collection[int], now: datetime,
        left: Mapping[int, Sequence[datetime]] = MappingProxyType({}),
    ) -> dict[int, Verdict]:  # fmt: skip
        """Ask about numbers of a run; of one without a gate all may go.

        left    texts of this run that count as if they had left, by number
        raises  StoreError; ValueError: the gate cannot be asked
        cost    as a claim, without its locks and its reservations
        """
        text = (await admission.gates(connection, (run.id,))).get(run.id)
        if text is None or not numbers:
            return dict.fromkeys(numbers, (SEND, None))
        rules_of = await self._rules_of(connection, run, text, sender)
        # Of a run that there is not, as a rehearsal: who waits is released at the moment that it says (QH-7, WF-11).
        rules = rules_of.rules(now, run.expires_at, run=ASKED)
        if self._zones is None:
            places = place_sets()
            self._zones = Zones(places.starts, places.ids)
        questions = Questions.of_numbers(as_asked(*numbers), self._zones)
        await learn(
            connection, questions, rules_of, rules, now, now, sender, self._suppressed(run.class_, sender)
        )  # fmt: skip
        if left:
            others = rules_of.rules(now, run=LEFT)
            told = [contacts((one,), others, RESERVED, micros(at)) for one, some in left.items() for at in some]
            questions.read_contacts(b"".join(map(as_records, told)))
        keys = questions.keys()
        if any(zone and zone not in self._zone_names for _, zone, _ in keys):
            self._zone_names = dict(await admission.zone_names(connection))
        questions.judge(rules, rules_of.windows(now, keys, self._zone_names))
        found: dict[int, Verdict] = {}
        for number in numbers:
            verdict, until = questions.verdict(number)
            found[number] = verdict, max(moment_of(until), now + LEAST_WAIT) if verdict > SEND else None
        return found

    async def _rules_of(self, connection: Connection, run: Run, text: str, sender: str) -> RunRules:
        """Make the rules of a run, once; anew when a limit was lowered (CP-8) or a name has got its number."""
        known = self._rules.get((run.id, sender))
        if (
            known is not None
            and known[0] == text
            and known[1] != UNKNOWN_BRAND
            and UNKNOWN_TAG not in known[2].values()
        ):
            return known[3]
        gate = gate_of(text)
        if gate is None:
            raise ValueError(f"run {run.id}: expected a gate, found none")
        brand_id, tags = await ids_for(connection, gate)
        if known is not None and known[:3] == (text, brand_id, tags):
            return known[3]
        # The step has asked for both just now.
        asked = msgspec.structs.replace(gate, audience=None, exception=None)
        made = RunRules(
            asked, run=run.id, class_=MessageClass(run.class_), priority=run.priority, sender=sender,
            brand_id=brand_id, tags=tags, places=place_sets(),
        )  # fmt: skip
        if len(self._rules) >= KEPT:
            del self._rules[next(iter(self._rules))]
        self._rules[run.id, sender] = text, brand_id, tags, made
        return made

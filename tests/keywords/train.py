"""Learn the weights of gateway/keywords.py from messages that are labelled: writes gateway/keywords.weights.

    .venv/bin/python -m tests.keywords.train             learn from all of them, about a minute
    .venv/bin/python -m tests.keywords.train --folds     measure: learn from four fifths, read the last, five times

labelled, fresh, later, last, fifth and lessons.toml are learned from; `sixth` and `seventh` never are. A line of
lessons is a pattern that stands for many messages; labelled ones count more. Logistic regression with a rate of its own
for each weight (AdaGrad), from a fixed seed: the same messages make the same file.
"""

import hashlib
import itertools
import math
import random
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from _fastpath.ngrams import places_of
from gateway.keywords import SCORE_1, Words, words

HERE = Path(__file__).parent
KEYWORDS = HERE.parents[1] / "gateway" / "keywords.toml"
WEIGHTS = KEYWORDS.with_suffix(".weights")
LABELLED = ("labelled", "fresh", "later", "last", "fifth")
BITS = 17
MOST_OF_A_LINE = 24
EPOCHS = 6
RATE = 0.5
DECAY = 2e-5
# Messages count so much more than what lessons make, and ordinary ones a little more than stops.
OF_LABELLED = 2.0
OF_PLAIN = 1.2


class Message(NamedTuple):
    """One text, and what it is."""

    text: str
    is_stop: bool


class Sample(NamedTuple):
    """One text as the table sees it."""

    places: Sequence[int]
    is_stop: bool
    weight: float


def labelled(name: str) -> list[Message]:
    """Read a file of messages by half or set, language and kind."""
    halves = tomllib.loads((HERE / f"{name}.toml").read_text(encoding="utf-8"))
    return [
        Message(text, kind == "stop")
        for half in halves.values() for one in half.values() for kind in ("stop", "plain") for text in one[kind]
    ]  # fmt: skip


def lessons() -> list[Message]:
    """Write out lessons.toml."""
    draw = random.Random(3)
    return [Message(text, line.is_stop) for line in labelled("lessons") for text in _written_out(line.text, draw)]


def _written_out(line: str, draw: random.Random) -> list[str]:
    parts = re.split(r"\(([^()]*)\)", line)
    choices = [part.split("|") if at % 2 else [part] for at, part in enumerate(parts)]
    if math.prod(map(len, choices)) <= MOST_OF_A_LINE:
        found = {" ".join("".join(one).split()) for one in itertools.product(*choices)}
    else:
        found = set()
        while len(found) < MOST_OF_A_LINE:
            found.add(" ".join("".join(draw.choice(some) for some in choices).split()))
    return sorted(found - {""})


def samples(messages: Sequence[Message], weight: float, read: Words) -> Iterator[Sample]:
    """Place messages in the table."""
    for text, is_stop in messages:
        if places := list(places_of(read.shape(text), BITS)):
            yield Sample(places, is_stop, weight if is_stop else weight * OF_PLAIN)


def learn(taught: Sequence[Sample]) -> bytes:
    """Make the weights, SCORE_1 for a score of 1, as signed octets."""
    size = 1 << BITS
    weights, squares = [0.0] * size, [1e-3] * size
    draw = random.Random(1)
    order = list(range(len(taught)))
    for _ in range(EPOCHS):
        draw.shuffle(order)
        for at in order:
            places, is_stop, weight = taught[at]
            part = 1 / math.sqrt(len(places))
            score = part * sum([weights[place] for place in places])
            miss = (1 / (1 + math.exp(-max(-30.0, min(30.0, score)))) - is_stop) * weight
            if abs(miss) < 1e-3:
                continue
            step, square = miss * part, (miss * part) ** 2
            for place in places:
                squares[place] += square
                weights[place] -= RATE * (step + DECAY * weights[place]) / math.sqrt(squares[place])
    return bytes(max(-127, min(127, round(weight * SCORE_1))) & 0xFF for weight in weights)


def digest() -> str:
    """What the weights are made of."""
    names = [HERE / f"{name}.toml" for name in (*LABELLED, "lessons")]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in [*names, Path(__file__)])).hexdigest()[:16]


def measure(read: Words, messages: Sequence[Message]) -> str:
    """Say how some messages are read."""
    by_kind: dict[bool, list[str | None]] = {True: [], False: []}
    for text, is_stop in messages:
        by_kind[is_stop].append(read.wish(text))
    stops, plain = by_kind[True], by_kind[False]
    return (
        f"of {len(stops)} stops {stops.count('stop') / len(stops):.2%} read as one and "
        f"{1 - (len(stops) - stops.count('stop') - stops.count('doubt')) / len(stops):.2%} caught; of {len(plain)} "
        f"others {plain.count('stop') / len(plain):.2%} stopped and {plain.count('doubt') / len(plain):.2%} paused"
    )


def main() -> None:
    """Learn, or measure."""
    read = words()
    of_lessons = list(samples(lessons(), 1.0, read))
    by_set = {name: labelled(name) for name in LABELLED}
    messages = [message for some in by_set.values() for message in some]
    if "--folds" in sys.argv:
        order = list(range(len(messages)))
        random.Random(5).shuffle(order)
        wishes: dict[int, str] = {}
        for fold in range(5):
            held = order[fold::5]
            rest = [messages[at] for at in order if at not in set(held)]
            made = learn([*of_lessons, *samples(rest, OF_LABELLED, read)])
            print(f"fold {fold + 1}:", measure(_with(read, made), [messages[at] for at in held]))
            wishes |= {at: str(_with(read, made).wish(messages[at].text)) for at in held}
        for kind, wrong in ((True, "None"), (False, "stop"), (False, "doubt")):
            print(
                f"{'stop' if kind else 'ordinary'}, read as {wrong}:",
                [m.text for at, m in enumerate(messages) if m.is_stop == kind and wishes[at] == wrong],
            )
        stops = [wishes[at] for at, message in enumerate(messages) if message.is_stop]
        plain = [wishes[at] for at, message in enumerate(messages) if not message.is_stop]
        print(
            f"all: recall {stops.count('stop') / len(stops):.2%}, caught {1 - stops.count('None') / len(stops):.2%} of "
            f"{len(stops)}; false {plain.count('stop') / len(plain):.2%}, paused "
            f"{plain.count('doubt') / len(plain):.2%} of {len(plain)}"
        )
        return
    WEIGHTS.write_bytes(learn([*of_lessons, *samples(messages, OF_LABELLED, read)]))
    text = KEYWORDS.read_text(encoding="utf-8")
    KEYWORDS.write_text(re.sub(r'(?m)^learned = ".*"$', f'learned = "{digest()}"', text), encoding="utf-8")
    words.cache_clear()
    for name, some in by_set.items():
        print(f"{name}, learned from:", measure(words(), some))


def _with(read: Words, weights: bytes) -> Words:
    return type(read)(**{name: getattr(read, name) for name in read.__struct_fields__} | {"weights": weights})


if __name__ == "__main__":
    main()

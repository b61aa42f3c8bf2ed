"""Any text is encoded and cut, or refused by name; its segments joined are the text.

Any octets decode; any receipt text is read or left.
"""

import random

from _fastpath import alphabet, receipttext, segment
from _fastpath.faults import NotEncodable, TooManyParts
from _fastpath.template import Template
from tests.fuzz import mutation

RECEIPTS = mutation.receipts()
LETTERS = "aZ0 @£€[]~\n\réüçñΩЖ中\u0301\u200d\U0001f468\U0001f1e9\U0001f3fd\ufeff\x00{}%|\"'"


def one(chance: random.Random) -> None:
    text = "".join(chance.choice(LETTERS) for _ in range(chance.randrange(400)))
    for name in ("gsm7", "ucs2", "latin1"):
        try:
            octets = alphabet.encode(text, name)
            parts = segment.segment(octets, name, chance.randrange(65536), 16, grapheme=chance.random() < 0.5)
        except (NotEncodable, TooManyParts):
            continue
        if b"".join(payload for _, payload in parts) != octets:
            raise AssertionError(f"{name}: segments do not join to {text!r}")
    alphabet.decode(chance.randbytes(chance.randrange(300)), chance.choice(("gsm7", "ucs2", "latin1")))
    receipttext.parse(mutation.mutated(chance, chance.choice(RECEIPTS), RECEIPTS))
    try:
        Template(text + "{{ " + text[:20] + " }}")
    except ValueError:
        pass


if __name__ == "__main__":
    mutation.run("text", one)

"""The world's numbering plans as one table of states: digits in, type of number out.

What it is: the patterns of phonenumbers' own metadata (data of the library, reached by its public names) turned into a
deterministic automaton over the ten digits, so that a compiled loop (_fastpath/numbertext.pyx) can say "valid, mobile"
in one look-up a digit. What it is not: a second opinion. Where this table cannot promise phonenumbers' own answer it
says `ASK`, and numbers.py asks the library. tests/contacts/test_numberplan.py holds the two together for every region.

Three automata share the two arrays `steps` (10 a state, -1 dead) and `labels` (one a state):

    world       digits after a +: calling code, then the national number      label = type of line, or 0
    region      bare digits with a default region: with trunk prefix, without, or after its own calling code
                                                                              label = type | reading << 4
    elsewhere   bare digits without a region: does a country read them as a mobile number of its own?   label = 1 if so

A calling code is grafted on when the first number of it is met (label `UNBUILT`); the 215 of them together cost
0.5 s and 30,000 states, the usual file needs one to five. A region costs 5-150 ms, `elsewhere` 0.4 s (2026-11).
"""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import phonenumbers

# Order of the tests in phonenumbers' number_type; the index + 1 is the code of the type, 0 is "not valid, or ask".
LINES = (
    "premium_rate",
    "toll_free",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
    "fixed_line",
    "fixed_line_or_mobile",
    "mobile",
)
FIXED_LINE, FIXED_LINE_OR_MOBILE, MOBILE = 9, 10, 11
ASK = 0
UNBUILT = 255
TRUNK, BARE, OWN_CODE = 0, 1, 2
"""How bare digits were read with a default region: behind its trunk prefix, without one, or behind its calling code."""
LONGEST = 17
"""Digits of the longest national number phonenumbers accepts; deeper states are not made."""

Node = tuple[Any, ...]


def _parse(pattern: str) -> Node:
    """Return the tree of one pattern of the metadata: digits, \\d, classes, groups, |, ?, {n}, {n,m} and $."""
    at = 0

    def alternatives() -> Node:
        nonlocal at
        branches = [sequence()]
        while at < len(pattern) and pattern[at] == "|":
            at += 1
            branches.append(sequence())
        return branches[0] if len(branches) == 1 else ("or", branches)

    def sequence() -> Node:
        items: list[Node] = []
        while at < len(pattern) and pattern[at] not in "|)":
            items.append(repeated(atom()))
        return ("then", items)

    def atom() -> Node:
        nonlocal at
        char = pattern[at]
        at += 1
        if char == "(":
            if pattern.startswith("?:", at):
                at += 2
            elif pattern.startswith("?", at):
                raise ValueError(f"lookaround in {pattern!r}")
            inside = alternatives()
            at += 1
            return inside
        if char == "[":
            end = pattern.index("]", at)
            body, mask, i = pattern[at:end].replace("\\d", "0-9"), 0, 0
            at = end + 1
            while i < len(body):
                last = body[i + 2] if body[i + 1 : i + 2] == "-" else body[i]
                for digit in range(int(body[i]), int(last) + 1):
                    mask |= 1 << digit
                i += 3 if body[i + 1 : i + 2] == "-" else 1
            return ("digit", mask)
        if char == "\\" and pattern[at] == "d":
            at += 1
            return ("digit", 0x3FF)
        if char == "$":
            return ("end",)
        return ("digit", 1 << int(char))

    def repeated(node: Node) -> Node:
        nonlocal at
        if at < len(pattern) and pattern[at] == "?":
            at += 1
            return ("times", node, 0, 1)
        if at < len(pattern) and pattern[at] == "{":
            end = pattern.index("}", at)
            least, comma, most = pattern[at + 1 : end].partition(",")
            at = end + 1
            return ("times", node, int(least), int(most) if comma else int(least))
        return node

    tree = alternatives()
    if at != len(pattern):
        raise ValueError(f"unread rest in {pattern!r}")
    return tree


class _Patterns:
    """Positions of many patterns side by side (Glushkov's construction), then their common states."""

    def __init__(self) -> None:
        self.masks: list[int] = [0]  # position 0 stands before the first digit
        self.follow: list[set[int]] = [set()]
        self.tags: list[int] = [0]  # bits of the patterns that end at this position
        self.ends: set[int] = set()
        self.trees: dict[str, Node] = {}

    def _position(self, mask: int) -> int:
        self.masks.append(mask)
        self.follow.append(set())
        self.tags.append(0)
        return len(self.masks) - 1

    def _grow(self, node: Node) -> tuple[bool, set[int], set[int]]:
        """Return (may be empty, first positions, last positions)."""
        kind = node[0]
        if kind == "digit" or kind == "end":
            position = self._position(node[1] if kind == "digit" else 0)
            if kind == "end":
                self.ends.add(position)
            return False, {position}, {position}
        if kind == "or":
            empty, first, last = False, set[int](), set[int]()
            for branch in node[1]:
                e, f, b = self._grow(branch)
                empty, first, last = empty or e, first | f, last | b
            return empty, first, last
        items = node[1] if kind == "then" else [node[1]] * node[3]
        empty, first, last = True, set[int](), set[int]()
        for index, item in enumerate(items):
            e, f, b = self._grow(item)
            if kind == "times" and index >= node[2]:
                e = True
            for position in last:
                self.follow[position] |= f
            if empty:
                first |= f
            last = last | b if e else b
            empty = empty and e
        return empty, first, last

    def add(self, tag: int, pattern: str, before: str = "", prefix: bool = False) -> None:
        """Set `tag` (one bit) where `before` + `pattern` ends, or from there on when it is a non-empty prefix."""
        tree = self.trees.get(pattern)
        if tree is None:
            tree = self.trees[pattern] = _parse(pattern)
        whole = ("then", [("digit", 1 << int(digit)) for digit in before] + [tree])
        _, first, last = self._grow(whole)
        self.follow[0] |= first
        if prefix:
            tail = self._position(0x3FF)
            self.follow[tail].add(tail)
            self.tags[tail] |= tag
            for position in last:
                self.follow[position].add(tail)
        for position in last:
            self.tags[position] |= tag

    def states(self, label: Callable[[int, int], int]) -> tuple[list[int], list[int]]:
        """Return (steps, labels) from 0; label(tags, digits read) is asked once a state."""
        for position, follow in enumerate(self.follow):
            for end in follow & self.ends:
                self.tags[position] |= self.tags[end]
        step_of: dict[int, tuple[frozenset[int], ...]] = {}

        def by_digit(position: int) -> tuple[frozenset[int], ...]:
            sets: list[list[int]] = [[] for _ in range(10)]
            for other in self.follow[position]:
                mask = self.masks[other]
                for digit in range(10):
                    if mask >> digit & 1:
                        sets[digit].append(other)
            found = step_of[position] = tuple(map(frozenset, sets))
            return found

        start = frozenset([0])
        number_of: dict[tuple[int, frozenset[int]], int] = {(0, start): 0}
        queue, steps, labels = [(0, start)], [], []
        for depth, state in queue:
            tags = 0
            for position in state:
                tags |= self.tags[position]
            labels.append(label(tags, depth))
            rows = [step_of.get(position) or by_digit(position) for position in state]
            for digit in range(10):
                if len(rows) == 1:
                    following = rows[0][digit]
                else:
                    following = frozenset().union(*[row[digit] for row in rows])
                if not following or depth == LONGEST:
                    steps.append(-1)
                    continue
                key = (depth + 1, following)
                number = number_of.get(key)
                if number is None:
                    number = number_of[key] = len(number_of)
                    queue.append(key)
                steps.append(number)
        return steps, labels


@dataclass(frozen=True)
class _Region:
    """What one region of the metadata says about a national number: its bits among the tags, and its lengths."""

    leading: int
    general: int
    lines: tuple[tuple[int, int], ...]
    """(tag, code of the type) in phonenumbers' order; fixed line and mobile are looked at together."""
    lengths: dict[int, frozenset[int]]
    same_pattern: bool

    def line(self, tags: int, length: int) -> int:
        """Return the code of the type, 0 where the region does not know the number."""

        def matches(tag: int) -> bool:
            lengths = self.lengths.get(tag)
            return bool(tags & tag) and (not lengths or length in lengths)

        if not matches(self.general):
            return 0
        fixed = mobile = False
        for tag, code in self.lines:
            if matches(tag):
                if code < FIXED_LINE:
                    return code
                fixed, mobile = fixed or code == FIXED_LINE, mobile or code == MOBILE
        if fixed:
            return FIXED_LINE_OR_MOBILE if self.same_pattern or mobile else FIXED_LINE
        return MOBILE if mobile and not self.same_pattern else 0


def _one_way(pattern: str, trunk: str) -> bool:
    """Say whether the literal `trunk` is one alternative of the pattern and no other can begin as it does."""
    tree = _parse(pattern) if pattern else ("then", [])
    branches = tree[1] if tree[0] == "or" else [tree]
    literal = ("then", [("digit", 1 << int(digit)) for digit in trunk])
    if literal not in branches:
        return False
    patterns = _Patterns()
    for branch in branches:
        if branch != literal:
            empty, first, _ = patterns._grow(branch)
            if empty or any(patterns.masks[position] >> int(trunk[0]) & 1 for position in first):
                return False
    return True


def _metadata(calling_code: int) -> list[Any]:
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[calling_code]
    if regions == (phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY,):
        found = [phonenumbers.PhoneMetadata.metadata_for_nongeo_region(calling_code, None)]
    else:
        found = [phonenumbers.PhoneMetadata.metadata_for_region(region, None) for region in regions]
    return [each for each in found if each is not None]


class _Reading:
    """The national numbers of one calling code within a set of patterns, optionally behind fixed digits."""

    def __init__(self, patterns: _Patterns, metadata: list[Any], bit: int, before: str = ""):
        self.regions: list[_Region] = []
        self.before = len(before)
        for each in metadata:
            tags: list[int] = []
            lengths: dict[int, frozenset[int]] = {}
            for name in ("general_desc", *(line for line in LINES if line != "fixed_line_or_mobile")):
                desc = getattr(each, name)
                tag = 0
                if desc is not None and desc.national_number_pattern:
                    tag, bit = bit, bit << 1
                    patterns.add(tag, desc.national_number_pattern, before)
                    # (-1,) says "no such number here" in the metadata.
                    lengths[tag] = frozenset(desc.possible_length)
                tags.append(tag)
            leading = 0
            if each.leading_digits and len(metadata) > 1:
                leading, bit = bit, bit << 1
                patterns.add(leading, each.leading_digits, before, prefix=True)
            codes = [code for code, line in enumerate(LINES, 1) if line != "fixed_line_or_mobile"]
            lines = tuple((tag, code) for tag, code in zip(tags[1:], codes, strict=True) if tag)
            same = tags[-1] != 0 and each.fixed_line is not None
            same = same and each.fixed_line.national_number_pattern == each.mobile.national_number_pattern
            self.regions.append(_Region(leading, tags[0], lines, lengths, same))
        self.next_bit = bit

    def line(self, tags: int, depth: int) -> int:
        """Return the type of the number: the first region that claims it decides, as region_code_for_number does."""
        length = depth - self.before
        if len(self.regions) == 1:
            return self.regions[0].line(tags, length)
        for region in self.regions:
            if region.leading:
                if tags & region.leading:
                    return region.line(tags, length)
            elif line := region.line(tags, length):
                return line
        return 0

    def mobile_in_any(self, tags: int, depth: int) -> bool:
        """Say whether one of the regions reads it as a number that may be a mobile."""
        return any(region.line(tags, depth - self.before) >= FIXED_LINE_OR_MOBILE for region in self.regions)


class NumberPlan:
    """The automata, as far as they have been asked for. `steps` and `labels` only grow; a state never moves."""

    def __init__(self) -> None:
        self.steps = array("i")
        self.labels = bytearray()
        self._code_of: dict[int, int] = {}
        self._start_of: dict[str, int] = {}
        self._elsewhere = -1
        codes = {str(code): code for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE}
        prefixes = sorted({code[:n] for code in codes for n in range(1, len(code) + 1)} - set(codes))
        states = {prefix: number for number, prefix in enumerate(["", *prefixes, *codes])}
        for prefix in states:
            self.steps.extend(-1 if prefix in codes else states.get(prefix + digit, -1) for digit in "0123456789")
            self.labels.append(UNBUILT if prefix in codes else ASK)
        self._code_of = {states[text]: code for text, code in codes.items()}

    @property
    def world(self) -> int:
        """State before the first digit after a +."""
        return 0

    def _place(self, steps: Iterable[int], labels: Iterable[int], over: int = -1) -> int:
        """Append an automaton, or lay its first state over an existing one; return where it starts."""
        shift = len(self.labels) - (over >= 0)
        steps, labels = list(steps), list(labels)
        moved = [step if step < 0 else over if step == 0 and over >= 0 else step + shift for step in steps]
        if over >= 0:
            self.steps[over * 10 : over * 10 + 10] = array("i", moved[:10])
            self.labels[over] = ASK
            moved, labels = moved[10:], labels[1:]
        start = len(self.labels)
        self.steps.extend(moved)
        self.labels.extend(labels)
        return over if over >= 0 else start

    def graft(self, digits: str) -> bool:
        """Build the calling code that `digits` begin with, if it is one and not built; say whether it is built now."""
        state = 0
        for digit in digits[:3]:
            state = self.steps[state * 10 + int(digit)]
            if state < 0:
                return False
            if self.labels[state] == UNBUILT:
                patterns = _Patterns()
                metadata = _metadata(self._code_of[state])
                # A number that still bears a trunk prefix, or looks so, is phonenumbers' to read.
                if metadata[0].national_prefix_for_parsing:
                    patterns.add(1, metadata[0].national_prefix_for_parsing, prefix=True)
                reading = _Reading(patterns, metadata, 2)

                def label(tags: int, depth: int, reading: _Reading = reading) -> int:
                    return ASK if tags & 1 or depth < 3 else reading.line(tags, depth)

                self._place(*patterns.states(label), over=state)
                return True
            if state in self._code_of:
                return True
        return False

    def region(self, region: str) -> int:
        """Return the state before the first of bare digits read in `region` (two capital letters, supported)."""
        if region in self._start_of:
            return self._start_of[region]
        main: Any = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
        code = str(main.country_code)
        metadata = _metadata(main.country_code)
        patterns = _Patterns()
        international, strippable, code_strippable = 1, 2, 4
        if main.international_prefix:
            patterns.add(international, main.international_prefix, prefix=True)
        trunk = main.national_prefix or ""
        parsing = main.national_prefix_for_parsing or ""
        if parsing:
            patterns.add(strippable, parsing, prefix=True)
            patterns.add(code_strippable, parsing, code, prefix=True)
        # Only where the trunk prefix is one whole alternative and no other begins as it does is stripping it certain.
        simple = bool(trunk) and not code.startswith(trunk[0]) and _one_way(parsing, trunk)
        bare = _Reading(patterns, metadata, 8)
        behind_code = _Reading(patterns, metadata, bare.next_bit, code)
        behind_trunk = _Reading(patterns, metadata, behind_code.next_bit, trunk) if simple else None
        # The general patterns of the default region itself decide whether its own calling code is taken off.
        position = next(i for i, each in enumerate(metadata) if each.id == main.id)
        general, general_behind = bare.regions[position].general, behind_code.regions[position].general
        begins_with_code = behind_code.next_bit if behind_trunk is None else behind_trunk.next_bit
        patterns.add(begins_with_code, code, prefix=True)

        def strips(tags: int, depth: int) -> bool:
            # The default region's own pattern decides about the trunk prefix, even for a number of its neighbour.
            assert behind_trunk is not None
            region = behind_trunk.regions[position]
            lengths = region.lengths[region.general]
            return bool(tags & region.general) and (not lengths or depth - len(trunk) in lengths)

        def label(tags: int, depth: int) -> int:
            if tags & international or depth < 4:
                return ASK
            if behind_trunk is not None and (line := behind_trunk.line(tags, depth)) and strips(tags, depth):
                return line | TRUNK << 4
            if tags & begins_with_code:
                ours = tags & general_behind and not tags & (general | code_strippable)
                line = behind_code.line(tags, depth) if ours else 0
                return line | OWN_CODE << 4 if line else ASK
            if tags & strippable:
                return ASK
            line = bare.line(tags, depth)
            return line | BARE << 4 if line else ASK

        start = self._start_of[region] = self._place(*patterns.states(label))
        return start

    def elsewhere(self) -> int:
        """Return the state before bare digits that may be a national mobile number anywhere."""
        if self._elsewhere < 0:
            patterns = _Patterns()
            readings, bit = [], 1
            for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
                for each in _metadata(code):
                    for desc in (each.mobile,):
                        if desc is not None and desc.national_number_pattern:
                            patterns.add(bit, desc.national_number_pattern)
                            readings.append((bit, frozenset(desc.possible_length)))
                            bit <<= 1

            def label(tags: int, depth: int) -> int:
                return int(any(tags & tag and (not lengths or depth in lengths) for tag, lengths in readings))

            self._elsewhere = self._place(*patterns.states(label))
        return self._elsewhere

"""A text with fields, compiled once; its literals are encoded once for each alphabet.

    Hi {{ first_name|default("there") }}, your order is ready.
    |  |                              |
    |  field, with what stands in for a missing value
    literal: GSM septets, Latin-1 octets and UTF-16BE octets are kept side by side

The grammar is the part of Jinja that needs no interpreter: literals, `{{ name }}`, `{{ name|default("…") }}`,
`{{ name|default("…", true) }}` (for an empty value too), `{{ "literal" }}` and comments `{# … #}`. Statements, filters
and expressions are refused with their place; such templates are rendered ahead of the claim by another path. A field is
a column of the audience: letters of any script, digits, `_` and `.`, not beginning with a digit.
Not here: cutting into segments (segment.pyx), which alphabet to try (outbound.pyx).
"""

import re
import unicodedata

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcpy

from _fastpath.alphabet cimport gsm_from_utf8, latin1_from_utf8, utf16_from_utf8
from _fastpath.segment cimport ALPHABET_GSM7, ALPHABET_LATIN1, ALPHABET_UCS2

from _fastpath import alphabet as alphabets
from _fastpath.faults import NotEncodable

cdef dict NAMES = {ALPHABET_GSM7: "gsm7", ALPHABET_LATIN1: "latin1", ALPHABET_UCS2: "ucs2"}

cdef object STRING = r'"(?:[^"\\]|\\.)*"' + "|" + r"'(?:[^'\\]|\\.)*'"
cdef object FIELD = re.compile(
    r"\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*"
    r"(?:\|\s*default\s*\(\s*(" + STRING + r")\s*(?:,\s*([Tt]rue|[Ff]alse)\s*)?\)\s*)?")
cdef object CONSTANT = re.compile(r"\s*(" + STRING + r")\s*")
cdef object ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "/": "/", "\\": "\\", '"': '"', "'": "'"}
# Words that an interpreter of the grammar takes for constants and operators.
cdef object NO_FIELDS = frozenset(("true", "false", "none", "True", "False", "None", "not"))


def _unquote(quoted):
    """The text of a quoted string of the grammar, backslash escapes resolved; an unknown one stands as written."""
    text = re.sub(
        r"\\(?:u([0-9A-Fa-f]{4})|(.))",
        lambda found: chr(int(found[1], 16)) if found[1] else ESCAPES.get(found[2], found[0]),
        quoted[1:len(quoted) - 1], flags=re.S)
    try:
        # Two escapes may be the halves of one character.
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError as error:
        raise ValueError(f"half of a surrogate pair in {quoted}") from error


def _place(text, at):
    """`line 2, column 7` of an index in a text."""
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


def _text_of(text, match, group):
    """The text of a quoted string that was matched; ValueError with its place."""
    try:
        return _unquote(match[group])
    except ValueError as error:
        raise ValueError(f"template: {_place(text, match.start(group))}: {error}") from error


def _parse(text):
    """-> list of (literal, None, None, False) and (None, field, default or None, whether it is for an empty value too).

    raises  ValueError with the place of what is no plain field
    """
    pieces = []
    at = 0
    while at < len(text):
        opening = re.compile(r"\{\{|\{%|\{#").search(text, at)
        if opening is None:
            pieces.append((text[at:], None, None, False))
            break
        if opening.start() > at:
            pieces.append((text[at:opening.start()], None, None, False))
        if opening[0] == "{%":
            raise ValueError(f"template: {_place(text, opening.start())}: expected a field, got a statement {{% … %}}")
        closing = {"{{": "}}", "{#": "#}"}[opening[0]]
        inside = opening.end()
        if opening[0] == "{#":
            end = text.find(closing, inside)
            if end < 0:
                raise ValueError(f"template: {_place(text, opening.start())}: comment is not closed by #}}")
            at = end + 2
            continue
        field = FIELD.match(text, inside)
        constant = CONSTANT.match(text, inside)
        if constant is not None and text.startswith(closing, constant.end()):
            pieces.append((_text_of(text, constant, 1), None, None, False))
            at = constant.end() + 2
        elif field is not None and field[1] not in NO_FIELDS and text.startswith(closing, field.end()):
            default = None if field[2] is None else _text_of(text, field, 2)
            pieces.append((None, field[1], default, field[3] in ("true", "True")))
            at = field.end() + 2
        elif text.find(closing, inside) < 0:
            raise ValueError(f"template: {_place(text, opening.start())}: field is not closed by }}}}")
        else:
            found = text[inside:text.find(closing, inside)].strip()
            raise ValueError(
                f"template: {_place(text, opening.start())}: expected a field name, with |default(\"…\") at most, "
                f"got {found!r}")
    return pieces


@cython.final
cdef class Template:
    """A compiled template.

    text    as written; normalised to NFC
    fields  names in order of their first appearance: the columns of `params` in this order
    required  those that stand somewhere without a default
    raises  ValueError with line and column for what is not of the grammar
    """

    def __init__(self, str text):
        cdef int i
        cdef int code
        cdef uint32_t at = 0
        text = unicodedata.normalize("NFC", text)
        parsed = _parse(text)
        merged = []
        run = ""
        for literal, field, default, over_empty in [*parsed, (None, None, None, False)]:
            if literal is not None:
                run += literal
                continue
            if run:
                merged.append((run, None, None, False))
                run = ""
            if field is not None:
                merged.append((None, field, default, over_empty))
        self.text = text
        self.fields = tuple(dict.fromkeys(field for _, field, _, _ in merged if field is not None))
        self.required = tuple(dict.fromkeys(
            field for _, field, default, _ in merged if field is not None and default is None))
        self.constant = not self.fields
        self.count = len(merged)
        self.pieces = <Piece*>PyMem_RawCalloc(max(1, self.count), sizeof(Piece))
        if self.pieces == NULL:
            raise MemoryError
        chunks = []
        for i, (literal, field, default, over_empty) in enumerate(merged):
            self.pieces[i].field = -1 if field is None else self.fields.index(field)
            self.pieces[i].required = field is not None and default is None
            # The least octets of a value that is written; a shorter one gives way to the default.
            self.pieces[i].least = 1 if over_empty else 0
            stands = literal if field is None else (default or "")
            for code, name in NAMES.items():
                try:
                    octets = alphabets.encode(stands, name)
                except NotEncodable:
                    self.pieces[i].octets[code] = -1
                    continue
                self.pieces[i].at[code] = at
                self.pieces[i].octets[code] = <int32_t>len(octets)
                chunks.append(octets)
                at += <uint32_t>len(octets)
        self.store = b"".join(chunks)
        self.octets = <const uint8_t*>PyBytes_AS_STRING(self.store)

    def __dealloc__(self):
        PyMem_RawFree(self.pieces)

    def encode(self, values, str name="gsm7"):
        """The octets of one message, as the compiled path writes them.

        values  a list of str or None (absent), one per field of `fields`
        name    gsm7 (unpacked), latin1 or ucs2
        raises  NotEncodable when the alphabet lacks a character; KeyError with the field without value and default
        """
        cdef uint32_t starts[256]
        cdef int32_t lengths[256]
        cdef uint8_t[65536] scratch
        cdef int code = {"gsm7": ALPHABET_GSM7, "latin1": ALPHABET_LATIN1, "ucs2": ALPHABET_UCS2}[name]
        cdef Py_ssize_t octets
        cdef bytes base
        if len(values) != len(self.fields) or len(values) > 256:
            raise ValueError(f"template: expected {len(self.fields)} values, got {len(values)}")
        encoded = [None if value is None else value.encode() for value in values]
        at = 0
        for i, value in enumerate(encoded):
            starts[i] = at
            lengths[i] = -1 if value is None else len(value)
            at += 0 if value is None else len(value)
        base = b"".join(value for value in encoded if value is not None)
        octets = self.compose(code, <const uint8_t*>PyBytes_AS_STRING(base), starts, lengths, scratch, 65536)
        if octets == -3:
            for field, value in zip(self.fields, values):
                if value is None and any(
                        self.pieces[i].required and self.fields[self.pieces[i].field] == field
                        for i in range(self.count) if self.pieces[i].field >= 0):
                    raise KeyError(field)
        if octets == -1:
            raise NotEncodable(f"{name} lacks a character of this message", -1)
        if octets < 0:
            raise ValueError("template: message longer than 65536 octets")
        return scratch[:octets]

    cdef Py_ssize_t compose(self, int alphabet, const uint8_t* base, const uint32_t* starts, const int32_t* lengths,
                            uint8_t* dst, Py_ssize_t room) noexcept nogil:
        """Write one message.

        base, starts, lengths   the field values as UTF-8: base + starts[i], lengths[i] octets, -1 = absent
        ->  octets written; -1 this alphabet lacks a character; -2 no room; -3 a field has neither value nor default
        """
        cdef const uint8_t* store = self.octets
        cdef Piece* piece = self.pieces
        cdef Piece* end = self.pieces + self.count
        cdef Py_ssize_t written = 0
        cdef Py_ssize_t octets
        cdef int32_t field
        while piece < end:
            field = piece.field
            if field >= 0 and lengths[field] >= piece.least:
                if alphabet == ALPHABET_GSM7:
                    octets = gsm_from_utf8(base + starts[field], lengths[field], dst + written, room - written)
                elif alphabet == ALPHABET_UCS2:
                    octets = utf16_from_utf8(base + starts[field], lengths[field], dst + written, room - written)
                else:
                    octets = latin1_from_utf8(base + starts[field], lengths[field], dst + written, room - written)
                if octets < 0:
                    return octets
            else:
                if piece.required:
                    return -3
                octets = piece.octets[alphabet]
                if octets < 0:
                    return -1
                if octets > room - written:
                    return -2
                memcpy(dst + written, store + piece.at[alphabet], octets)
            written += octets
            piece += 1
        return written

"""A file of contacts read to the end: its rows judged, its people handed out in batches, its report filled.

What it is: table.py, numbers.py and report.py put together; a dry run and an import are the same reading, so what the
dry run says is what the import does. What it is not: the writer of people (gateway.store.people).
"""

import re
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from _fastpath.firstseen import FirstSeen
from gateway.contacts.numberplan import FIXED_LINE_OR_MOBILE, LINES
from gateway.contacts.numbers import Numbers, Verdict
from gateway.contacts.report import FieldUse, Report
from gateway.contacts.table import BLOCK_CHARACTERS, Block, Table, looks_like_number
from gateway.erasure import NOBODY, Erased
from gateway.errors import FileFault

_NUMBER_NAMES = frozenset(
    """
    phone phonenumber phoneno phonenr telephone telephonenumber tel telno telnr mobile mobilenumber mobileno mobilephone
    mobilephonenumber mobphone cell cellphone cellnumber cellphonenumber msisdn number smsnumber sms whatsapp recipient
    destination contactnumber phone1 mobile1 primaryphone defaultphone gsm to
    telefon telefonnummer telefonnr handy handynummer handynr mobil mobilnummer mobilnr mobiltelefon rufnummer nummer
    telefono telefonos numero numerotelefono numerodetelefono movil telefonomovil celular numerocelular cellulare
    telefonocellulare numeroditelefono numerocellulare
    telephoneportable portable numerodetelephone numerotelephone mobiletelephone
    telefone telemovel numerodetelefone numerodecelular
    telefoon telefoonnummer mobiel gsmnummer
    telefonnumer numertelefonu komorka telefonkomorkowy telefonnicislo mobilnitelefon
    puhelin puhelinnumero matkapuhelin mobiltelefonnummer mobilnummeret telefontelefon
    telefonnumarasi ceptelefonu cep gsmno
    телефон номер номертелефона мобильный мобильныйтелефон сотовый мобільний номертелефону
    τηλεφωνο κινητο هاتف جوال رقمالهاتف رقمالجوال موبايل טלפון נייד
    手机 手机号 手机号码 电话 电话号码 手機 電話 電話番号 携帯 携帯電話 携帯番号 전화번호 휴대폰 휴대전화
    मोबाइल फ़ोन फोन เบอร์โทร โทรศัพท์ เบอร์มือถือ điệnthoại sốđiệnthoại dienthoai sodienthoai
    """.split()
)


class Batch(NamedTuple):
    """People of one block: numbers (0 = row not taken) and one column for each of `Reading.fields`."""

    numbers: "array[int]"
    columns: list[Sequence[str]]
    taken: int


def fold(name: str) -> str:
    """Return a name without case, accents of Latin letters, blanks and punctuation."""
    text = unicodedata.normalize("NFKD", name.casefold())
    return re.sub(r"[\W_]+", "", "".join(char for char in text if not "\u0300" <= char <= "\u036f"))


_FOLDED_NAMES = frozenset(map(fold, _NUMBER_NAMES))


def is_number_name(name: str) -> bool:
    """Say whether a column of that name holds phone numbers, in any of many languages."""
    return fold(name) in _FOLDED_NAMES


def find_number_column(table: Table, asked: str | None = None) -> tuple[int, str]:
    """Return (index, why) of the column that holds the phone numbers.

    asked   a name of the header, a field's name, or a position from 1
    raises  FileFault `number_column`: none fits, or several do and we do not choose
    """
    names = [*table.header, *table.fields]
    width = len(table.fields)
    if asked is not None:
        if asked in names:
            return names.index(asked) % width if table.has_header else names.index(asked), "as asked"
        folded = [index for index, name in enumerate(table.fields) if fold(name) == fold(asked) != ""]
        if len(folded) == 1:
            return folded[0], "as asked"
        if asked.isascii() and asked.isdigit() and 1 <= int(asked) <= width:
            return int(asked) - 1, "as asked"
        raise FileFault("number_column", f"--number-column {asked!r}: expected one of {', '.join(table.fields)}")
    candidates = [index for index, name in enumerate(table.header) if is_number_name(name)]
    reason = "by its name"
    if not candidates:
        reason = "by its contents"
        rows = table.sample()
        for index in range(width):
            cells = [row[index] for row in rows if index < len(row) and row[index].strip()]
            if cells and sum(map(looks_like_number, cells)) * 2 >= len(cells):
                candidates.append(index)
        if not candidates and width == 1:
            return 0, "the only column"
    if len(candidates) == 1:
        return candidates[0], reason
    among = ", ".join(table.fields[index] for index in candidates or range(width))
    what = "several columns may hold the numbers" if candidates else "no column looks like phone numbers"
    raise FileFault("number_column", f"{table.path}: {what}; say --number-column with one of {among}")


class Reading:
    """One pass over a table.

    numbers          judges the number cells
    number_column    see find_number_column
    template_fields  fields a message will need: the report says which are missing or empty
    shows_numbers    the report's examples are not masked
    raises           FileFault
    """

    def __init__(
        self,
        table: Table,
        numbers: Numbers,
        *,
        number_column: str | None = None,
        template_fields: Sequence[str] = (),
        shows_numbers: bool = False,
    ):
        self.table = table
        self._numbers = numbers
        self._at, reason = find_number_column(table, number_column)
        self.fields = [name for index, name in enumerate(table.fields) if index != self._at]
        """Names of the attributes: every column but that of the numbers."""
        self._seen = FirstSeen()
        self.report = Report(
            path=table.path,
            octets=table.octets,
            sha256=table.sha256.hex(),
            encoding=table.encoding,
            encoding_reason=table.encoding_reason,
            delimiter=table.delimiter,
            delimiter_reason=table.delimiter_reason,
            has_header=table.has_header,
            header=table.header,
            fields=table.fields,
            number_column=table.fields[self._at],
            number_column_reason=reason,
            region=numbers.region,
            notes=table.notes,
            shows_numbers=shows_numbers,
        )
        for name in dict.fromkeys(template_fields):
            near = next((other for other in self.fields if fold(other) == fold(name)), "")
            self.report.template.append(FieldUse(name, name not in self.fields, near="" if near == name else near))
        self.erased: Erased = NOBODY
        """Who is refused since they were erased; set by who has asked for them."""
        self._used = [(use, self.fields.index(use.name)) for use in self.report.template if not use.is_missing]

    def batches(self, characters: int = BLOCK_CHARACTERS) -> Iterator[Batch]:
        """Yield the people of the file, block by block; the report is whole when this ends.

        cost  about 2.5 µs a row of six columns with 3 % of damage, reading the file included (measured 2026-11)
        """
        for block in self.table.blocks(characters):
            yield self._judge(block)

    def run(self) -> Report:
        """Read to the end and return the report: the dry run."""
        for _ in self.batches():
            pass
        return self.report

    def _judge(self, block: Block) -> Batch:
        report, at = self.report, self._at
        columns = block.columns
        cells = list(columns[at])
        numbers, kinds, verdicts = self._numbers.column(cells)
        report.rows += len(cells) + len(block.faults)
        for row in block.faults:
            report.fault(row.line, row.name, row.found)
        for row in block.notes:
            report.note(row.line, row.name, row.found)
        if self._numbers.mobile:
            self._refuse_landlines(numbers, kinds, verdicts)
        for index in self.erased.places(numbers):
            numbers[index] = kinds[index] = 0
            verdicts[index] = Verdict(fault="erased")
        for index, verdict in verdicts.items():
            if verdict.fault == "empty" and not any(column[index].strip() for column in columns):
                report.rows -= 1
                report.note(block.lines[index], "blank_line", "")
            elif not verdict.number:
                report.fault(block.lines[index], verdict.fault, cells[index])
        firsts = array("q", bytes(8 * len(cells)))
        if self._seen.add(numbers, block.lines, firsts):
            for index, first in enumerate(firsts):
                if first:
                    report.duplicate(block.lines[index], first)
                    numbers[index] = 0
                    kinds[index] = 0
                    verdicts.pop(index, None)
        taken = self._count_lines(block, cells, numbers, kinds, verdicts)
        report.sent += taken
        others = [column for index, column in enumerate(columns) if index != at]
        for use, index in self._used:
            use.empty += sum(
                1 for value, number in zip(others[index], numbers, strict=True) if number and not value.strip()
            )
        return Batch(numbers, others, taken)

    @staticmethod
    def _refuse_landlines(numbers: "array[int]", kinds: bytearray, verdicts: dict[int, Verdict]) -> None:
        for kind in set(kinds):
            if kind and kind & 15 < FIXED_LINE_OR_MOBILE:
                at = kinds.find(kind)
                while at >= 0:
                    numbers[at] = kinds[at] = 0
                    verdicts[at] = Verdict(line=LINES[(kind & 15) - 1], fault="not_mobile")
                    at = kinds.find(kind, at + 1)

    def _count_lines(
        self, block: Block, cells: list[str], numbers: "array[int]", kinds: bytearray, verdicts: dict[int, Verdict]
    ) -> int:
        """Enter types of line, repairs and doubts of what is taken; return how many are."""
        report, taken = self.report, 0
        for kind in set(kinds):
            if not kind:
                continue
            count = kinds.count(kind)
            taken += count
            line = LINES[(kind & 15) - 1]
            report.lines[line] = report.lines.get(line, 0) + count
            repairs = self._numbers.repairs_of(kind)
            doubtful = kind & 15 < FIXED_LINE_OR_MOBILE
            if repairs or doubtful:
                at = kinds.find(kind)
                while at >= 0:
                    report.repair(block.lines[at], repairs, cells[at])
                    if doubtful:
                        report.note(block.lines[at], "not_mobile", cells[at])
                    at = kinds.find(kind, at + 1)
        for index, verdict in verdicts.items():
            if verdict.number:
                taken += 1
                report.lines[verdict.line] = report.lines.get(verdict.line, 0) + 1
                report.repair(block.lines[index], verdict.repairs, cells[index])
                if verdict.line not in ("mobile", "fixed_line_or_mobile"):
                    report.note(block.lines[index], "not_mobile", cells[index])
        return taken

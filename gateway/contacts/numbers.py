"""The text of a cell -> a phone number in E.164, or a fault with a name.

What it is: the judge of number cells. Clean forms are read a column at a time by the compiled table (numberplan.py,
_fastpath/numbertext.pyx); every other cell comes here one by one: first the damage of spreadsheets is looked for, then
phonenumbers is asked. What it is not: a reader of files (table.py) or a judge of people (the gate).

Nothing is guessed. Digits without a + are read in every way they could have been meant, and taken only if one remains:

    default region    national in it, international with the + lost. Two valid numbers -> `ambiguous`
    none              international with the + lost, and only if no country has such a mobile number of its own
                      (2025550123 is a number of Washington, +20 25550123 none of Egypt: `needs_region`)
    0044..., 011...   the region's own prefix for calls abroad; without one 00 means +, as no national number has it

`forms` says so for a whole file and ends the doubt: "national" (bare digits are of the region) or "international".
"""

import re
import unicodedata
from array import array
from dataclasses import dataclass
from typing import Any, Literal

import phonenumbers

from _fastpath import numbertext
from gateway.contacts.numberplan import FIXED_LINE_OR_MOBILE, LINES, UNBUILT, NumberPlan
from gateway.errors import ConfigError

FAULTS: dict[str, str] = {
    "empty": "a phone number",
    "scientific": "all digits: a spreadsheet has rounded them away, export the column as text",
    "fraction": "a phone number without a fraction",
    "several": "one number in a cell",
    "letters": "digits",
    "extension": "a number without extension: it cannot be reached by a message",
    "not_a_number": "a phone number",
    "needs_region": "an international number with +, or a default region (--region GB)",
    "ambiguous": "a + in front, or --numbers national|international: the digits are valid in two countries",
    "unknown_calling_code": "a country calling code that exists",
    "too_short": "more digits",
    "too_long": "fewer digits",
    "not_in_use": "a number of a range that is in use",
    "not_mobile": "a mobile number",
    "erased": "a number that may be kept: whose it is has asked to be forgotten",
}
"""Name of a fault -> what was expected instead."""

REPAIRS: dict[str, str] = {
    "text_mark": "a leading apostrophe taken off",
    "formula": '="..." taken off',
    "decimal_zero": "the .0 of a spreadsheet taken off",
    "grouping": "separators of thousands taken out",
    "invisible": "invisible characters taken out",
    "digits": "digits of another script read",
    "label": "a word in front taken off",
    "double_zero": "00 read as +",
    "plus_added": "a lost + put back: no other country reads these digits",
    "zero_added": "a lost leading zero of a national number put back",
}
"""Name of a repair -> what was done. A repaired number is certain; the report counts it all the same."""

LONGEST_CELL = 200
"""No number and its decoration is longer; the patterns below are not let loose on more."""

Forms = Literal["mixed", "national", "international"]
_FORMS: dict[str, int] = {"mixed": 0, "national": 1, "international": 2}

_SCIENTIFIC = re.compile(r"[-+]?\d+(?:[.,]\d*)?\s?[eE]\s?[-+]?\d+")
# Digits in pairs may well end in .00 (06.12.34.56.00), but no one writes a single last zero apart.
_DECIMAL_ZERO = re.compile(r"(\+?\d{5,})[.,]0+|(.*\d\d)[.,]0")
_FRACTION = re.compile(r"[-+]?\d{5,}[.,]\d{1,3}")
_GROUPED = re.compile(r"\+?\d{1,3}(?:([,'’])\d{3})(?:\1\d{3})+")
_FORMULA = re.compile(r'=\s*"(.*)"')
_LABEL = re.compile(r"(?:tel|sms|mob|mobile|cell|phone|handy|fon|whatsapp)\s*[.:]+\s*(?=[+(\d])", re.IGNORECASE)
_EXTENSION = re.compile(
    r"(.*\d.*?)(?:;ext=|[\s,]*(?:extension|extn|ext|x|int|app|доб|#|~)[\s.:]*)\d{1,8}#?", re.IGNORECASE
)
_BETWEEN = re.compile(r"[,;|&\n\r]|\s(?:or|oder|ou|o|and|und|et|y)\s", re.IGNORECASE)
_PUNCTUATION = frozenset("+0123456789 -().[]/\t‐‑‒–—−·")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one cell is: a number (E.164 without the +) with its line, or a fault; with the repairs that led there."""

    number: int = 0
    line: str = ""
    fault: str = ""
    repairs: tuple[str, ...] = ()


class Numbers:
    """Reads number cells, with one default region or none.

    region    two letters, such as "GB"; raises ConfigError when phonenumbers has no such region
    forms     how bare digits are meant; see above
    mobile    True refuses what can be no mobile with the fault `not_mobile`
    possible  True takes a number of the right length though phonenumbers knows no such range: ranges newer than the
              library, and those kept for tests and films (+44 7700 900xxx); its line is "unknown"
    reference the library that judges, with the names of phonenumbers
    """

    def __init__(
        self,
        region: str | None = None,
        *,
        forms: Forms = "mixed",
        mobile: bool = False,
        possible: bool = False,
        reference: Any = phonenumbers,
    ):
        if region is not None:
            region = region.upper()
            if region not in reference.SUPPORTED_REGIONS:
                raise ConfigError([("region", "a country of two letters such as GB", repr(region))])
        if forms not in _FORMS:
            raise ConfigError([("numbers", "mixed, national or international", repr(forms))])
        if forms == "national" and region is None:
            raise ConfigError([("region", "a country of two letters, as the numbers are national", "none")])
        self.region = region
        self.forms = forms
        self.mobile = mobile
        self.possible = possible
        self._reference = reference
        self._plan = NumberPlan()
        self._national = self._elsewhere = -1
        self._trunk = ""
        self._calling_code = 0
        if region is not None:
            metadata = reference.PhoneMetadata.metadata_for_region(region, None)
            self._trunk = metadata.national_prefix or ""
            self._calling_code = metadata.country_code
            self._national = self._plan.region(region)
        # Nobody misses the 1 or the 8 that some countries dial before a national number: only a lost 0 is damage.
        self.has_zero_trunk = self._trunk == "0"
        kind = reference.PhoneNumberType
        self._line_of = {getattr(kind, line.upper()): line for line in LINES}

    def column(self, cells: list[str]) -> tuple["array[int]", bytearray, dict[int, Verdict]]:
        """Read one column.

        ->    numbers (E.164 as int64, 0 = fault), kinds (numbertext's octet, 0 where asked), and a Verdict for every
              cell that is a fault, was repaired, or had to be asked about
        cost  27-41 ns a clean cell, about 60 µs for one that phonenumbers has to be asked about
        """
        numbers, kinds, left = self._scan(cells)
        verdicts: dict[int, Verdict] = {}
        if not left:
            return numbers, kinds, verdicts
        asked: list[int] = []
        texts: list[str] = []
        mended: list[list[str]] = []
        at = kinds.find(0)
        while at >= 0:
            text, repairs = self._clean(cells[at])
            fault = self._fault(text)
            if fault:
                verdicts[at] = Verdict(fault=fault, repairs=tuple(repairs))
            else:
                asked.append(at)
                texts.append(text)
                mended.append(repairs)
            at = kinds.find(0, at + 1)
        # Once cleaned, most of them are forms the table is sure of.
        seconds, second_kinds, _ = self._scan(texts)
        for at, text, repairs, number, kind in zip(asked, texts, mended, seconds, second_kinds, strict=True):
            if kind and (not self.mobile or kind & 15 >= FIXED_LINE_OR_MOBILE):
                verdict = Verdict(number, LINES[(kind & 15) - 1], "", (*repairs, *self.repairs_of(kind)))
            else:
                verdict = self._judge(text, repairs)
            verdicts[at] = verdict
            numbers[at] = verdict.number
        return numbers, kinds, verdicts

    def repairs_of(self, kind: int) -> tuple[str, ...]:
        """Return what the compiled scan has mended in a cell of this kind."""
        reading = kind >> 4
        if reading == 2 and self.has_zero_trunk:
            return ("zero_added",)
        return ("plus_added",) if reading == 4 else ()

    def _scan(self, cells: list[str]) -> tuple["array[int]", bytearray, int]:
        """Return (numbers, kinds, how many kinds are 0), grafting calling codes as they are met."""
        count = len(cells)
        numbers, kinds = array("q", bytes(8 * count)), bytearray(count)
        plan = self._plan
        while True:
            left = numbertext.scan(
                cells,
                plan.steps,
                plan.labels,
                self._national,
                self._elsewhere,
                _FORMS[self.forms],
                len(self._trunk),
                self._calling_code,
                numbers,
                kinds,
            )
            at = kinds.find(UNBUILT) if left else -1
            # Every calling code is grafted once at most, so this ends.
            if at < 0 or not plan.graft("".join(filter(str.isdigit, cells[at]))):
                return numbers, kinds.replace(b"\xff", b"\0"), left

    def read(self, cell: str) -> Verdict:
        """Read one cell, slowly and surely; never raises."""
        text, repairs = self._clean(cell)
        if fault := self._fault(text):
            return Verdict(fault=fault, repairs=tuple(repairs))
        return self._judge(text, repairs)

    def _fault(self, text: str) -> str:
        """Return the fault of a cleaned cell that can be seen before it is read as a number."""
        if not text:
            return "empty"
        fault = _damage(text)
        # 030/1234567 is one number written with a stroke; +49 30 1234567/68 is two.
        if not fault and "/" in text and self._judge(text.split("/", 1)[0].strip(), []).number:
            return "several"
        return fault

    def _clean(self, cell: str) -> tuple[str, list[str]]:
        """Return the cell without what spreadsheets and copying put around a number, and the names of the repairs."""
        repairs: list[str] = []
        text = cell if len(cell) <= 4 * LONGEST_CELL else cell[: 4 * LONGEST_CELL]
        if not text.isascii():
            kept = "".join(char for char in text if unicodedata.category(char) not in ("Cf", "Cc") or char in "\t\r\n")
            if kept != text:
                repairs.append("invisible")
            folded = "".join(
                str(unicodedata.decimal(char)) if char.isdecimal() else " " if char.isspace() else char for char in kept
            )
            folded = (
                folded.replace("＋", "+").replace("﹢", "+").replace("（", "(").replace("）", ")").replace("－", "-")
            )
            if any(char.isdecimal() and not char.isascii() for char in kept):
                repairs.append("digits")
            text = folded
        elif "\0" in text:
            text = text.replace("\0", "")
            repairs.append("invisible")
        text = text.strip()
        if match := _FORMULA.fullmatch(text):
            text = match[1].strip()
            repairs.append("formula")
        if text.startswith("'"):
            text = text.lstrip("'").strip()
            repairs.append("text_mark")
        if match := _LABEL.match(text):
            text = text[match.end() :]
            repairs.append("label")
        if match := _DECIMAL_ZERO.fullmatch(text):
            text = match[1] or match[2]
            repairs.append("decimal_zero")
        elif _GROUPED.fullmatch(text):
            text = re.sub(r"[,'’]", "", text)
            repairs.append("grouping")
        return text, repairs

    def _judge(self, text: str, repairs: list[str]) -> Verdict:
        """Read a cleaned text of digits and punctuation in every way it could have been meant."""
        digits = "".join(char for char in text if char.isdigit())
        if text.lstrip(" ([").startswith("+"):
            return self._verdict(self._parse("+" + text.lstrip(" ([+"), None), text, repairs)
        if not digits:
            return Verdict(fault="not_a_number", repairs=tuple(repairs))
        if self.forms == "international":
            added = "double_zero" if digits.startswith("00") else "plus_added"
            return self._verdict(self._parse("+" + digits.removeprefix("00"), None), text, [*repairs, added])
        national = self._parse(text, self.region) if self.region else None
        if not isinstance(national, int | None) and self._reference.is_valid_number(national):
            lost_zero = self.has_zero_trunk and digits[0] != "0" and not digits.startswith(str(national.country_code))
            abroad = None if digits[0] == "0" or self.forms == "national" else self._valid("+" + digits)
            if abroad is not None and self._e164(abroad) != self._e164(national):
                return Verdict(fault="ambiguous", repairs=tuple(repairs))
            return self._verdict(national, text, [*repairs, "zero_added"] if lost_zero else repairs)
        if self.forms == "national":
            return self._verdict(national, text, repairs)
        if digits.startswith("00"):
            abroad = self._valid("+" + digits[2:])
            if abroad is not None:
                return self._verdict(abroad, text, [*repairs, "double_zero"])
        elif digits[0] != "0":
            abroad = self._valid("+" + digits)
            if abroad is not None:
                if self.region is None and self._has_mobile_elsewhere(digits):
                    return Verdict(fault="ambiguous", repairs=tuple(repairs))
                return self._verdict(abroad, text, [*repairs, "plus_added"])
        if self.region is None:
            if digits.startswith("00"):
                return self._verdict(self._parse("+" + digits[2:], None), text, [*repairs, "double_zero"])
            fault = "too_short" if len(digits) < 5 else "too_long" if len(digits) > 17 else "needs_region"
            return Verdict(fault=fault, repairs=tuple(repairs))
        return self._verdict(national, text, repairs)

    def _has_mobile_elsewhere(self, digits: str) -> bool:
        plan = self._plan
        if self._elsewhere < 0:
            # From here on the compiled scan may decide such cells itself: the first one pays 0.4 s.
            self._elsewhere = plan.elsewhere()
        state = self._elsewhere
        for digit in digits:
            state = plan.steps[state * 10 + int(digit)]
            if state < 0:
                return False
        return bool(plan.labels[state])

    def _parse(self, text: str, region: str | None) -> Any:
        """Return the library's number, or its error code as an int."""
        reference = self._reference
        try:
            return reference.parse(text, region)
        except reference.NumberParseException as error:
            return error.error_type

    def _valid(self, text: str) -> Any:
        number = self._parse(text, None)
        return number if not isinstance(number, int) and self._reference.is_valid_number(number) else None

    def _e164(self, number: Any) -> int:
        return int(self._reference.format_number(number, self._reference.PhoneNumberFormat.E164)[1:])

    def _verdict(self, number: Any, text: str, repairs: list[str]) -> Verdict:
        """Name what the library found."""
        reference, kept = self._reference, tuple(repairs)
        if isinstance(number, int):
            code = reference.NumberParseException
            fault = {
                code.INVALID_COUNTRY_CODE: "unknown_calling_code",
                code.TOO_SHORT_NSN: "too_short",
                code.TOO_SHORT_AFTER_IDD: "too_short",
                code.TOO_LONG: "too_long",
            }.get(number, "not_a_number")
            if fault == "not_a_number" and 0 < sum(map(str.isdigit, text)) < 5:
                fault = "too_short"
            return Verdict(fault=fault, repairs=kept)
        if not reference.is_valid_number(number):
            reason, result = reference.is_possible_number_with_reason(number), reference.ValidationResult
            short = (result.TOO_SHORT, result.IS_POSSIBLE_LOCAL_ONLY)
            fault = "too_short" if reason in short else "too_long" if reason == result.TOO_LONG else "not_in_use"
            if fault == "not_in_use" and self.possible and not self.mobile:
                return Verdict(self._e164(number), "unknown", repairs=kept)
            return Verdict(fault=fault, repairs=kept)
        line = self._line_of[reference.number_type(number)]
        if self.mobile and LINES.index(line) + 1 < FIXED_LINE_OR_MOBILE:
            return Verdict(line=line, fault="not_mobile", repairs=kept)
        return Verdict(self._e164(number), line, repairs=kept)


def _damage(text: str) -> str:
    """Return the fault that no numbering plan is needed to see, or an empty string."""
    if len(text) > LONGEST_CELL:
        return "not_a_number"
    if _SCIENTIFIC.fullmatch(text):
        return "scientific"
    if _FRACTION.fullmatch(text) and not re.fullmatch(r"\d{5,}\.\d{2,3}", text):
        return "fraction"
    parts = [part for part in _BETWEEN.split(text) if sum(map(str.isdigit, part)) >= 5]
    if len(parts) > 1 or text.count("+") > 1 and re.search(r"\d.*\+", text):
        return "several"
    if "+" in text.lstrip(" ([+"):
        return "not_a_number"
    if _EXTENSION.fullmatch(text):
        return "extension"
    if any(char.isalpha() for char in text):
        return "letters"
    if text.startswith("-") or not set(text) <= _PUNCTUATION:
        return "not_a_number"
    return ""

"""Settings: a TOML file and the environment, into Structs; refused as a whole when anything is wrong.

    sluice.toml                         environment (wins)
    [database]                          SLUICE__DATABASE__DSN=postgresql://…
    dsn = "postgresql://…"
    [carriers.acme]                     SLUICE__CARRIERS__ACME__PASSWORD=…
    host = "smsc.acme.example"

Units are in the names. Every problem is reported, not the first alone: key, what was expected, what was found.
Not here: carrier profiles with inheritance, settings that change while running.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from gateway.errors import ConfigError

Port = Annotated[int, Meta(ge=1, le=65535)]
Octet = Annotated[int, Meta(ge=0, le=255)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Alphabet = Literal["gsm7", "latin1", "ucs2"]

FILE_NAME = "sluice.toml"
ENVIRONMENT_PREFIX = "SLUICE__"


class DatabaseSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the queue lives.

    dsn          of any Postgres 15 to 18; empty: our own embedded server under data_root
    data_root    folder of the embedded server, from the file's own folder on; empty: `.sluice`
    deadline_s   our own limit on every database wait; then the connection is ended
    """

    dsn: str = ""
    data_root: str = ""
    deadline_s: Seconds = 10.0
    allow_data_loss: bool = False


class WorkerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a worker takes from the queue and settles.

    flush_interval_s   longest wait of an outcome or receipt before it is written
    intent_s           traffic, in seconds of the current rate, that a watermark may run ahead of what has left
    lease_s            a claimed chunk belongs to a worker so long, renewed with every flush
    evidence_s         before an uncertain segment is sent again under at_least_once
    recall_ids         message_ids kept in memory, a lane, to match receipts without asking Postgres
    """

    flush_interval_s: Annotated[float, Meta(ge=0.001, le=1.0)] = 0.025
    intent_s: Annotated[float, Meta(ge=0.005, le=1.0)] = 0.05
    lease_s: Annotated[float, Meta(ge=2.0, le=600.0)] = 30.0
    match_interval_s: Annotated[float, Meta(ge=0.05, le=60.0)] = 0.5
    evidence_s: Annotated[float, Meta(ge=0.0, le=604800.0)] = 120.0
    recall_ids: Annotated[int, Meta(ge=1024, le=1 << 24)] = 1 << 18


class CarrierSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account at one operator.

    bind                   trx, or tx+rx: each of the two `binds` times
    window                 unanswered requests a bind
    tps                    PDUs a second over all binds, hard in every sliding second; 0 = no limit
    long_password          allow more than the 8 characters of the standard
    assume_version         version of an SMSC that names none in its bind response (decides whether TLVs are sent)
    response_timeout_s     after it a submit_sm is uncertain
    concatenation          udh16, udh8, sar (TLVs) or payload (message_payload, not cut by us)
    data_coding            by alphabet, where the carrier departs from 0 / 3 / 8
    weight                 share of a run that is spread over several carriers
    """

    host: Annotated[str, Meta(min_length=1)]
    port: Port = 2775
    system_id: str = ""
    password: str = ""
    system_type: str = ""
    address_range: str = ""
    long_password: bool = False
    version: Literal["3.3", "3.4", "5.0"] = "3.4"
    assume_version: Literal["", "3.3", "3.4", "5.0"] = ""
    bind: Literal["trx", "tx+rx"] = "trx"
    binds: Annotated[int, Meta(ge=1, le=256)] = 1
    window: Annotated[int, Meta(ge=1, le=65536)] = 10
    tps: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    connect_timeout_s: Seconds = 10.0
    bind_timeout_s: Seconds = 10.0
    response_timeout_s: Seconds = 30.0
    enquire_link_s: Seconds = 30.0
    inactivity_s: Annotated[float, Meta(ge=0, le=86400)] = 0.0
    unbind_timeout_s: Seconds = 5.0
    reconnect_first_s: Seconds = 1.0
    reconnect_longest_s: Seconds = 60.0
    throttle_pause_s: Annotated[float, Meta(ge=0.001, le=600)] = 0.25
    retry_delay_s: Annotated[float, Meta(ge=0.001, le=3600)] = 1.0
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 3
    source: str = "Sluice"
    source_ton: Octet = 5
    source_npi: Octet = 0
    dest_ton: Octet = 1
    dest_npi: Octet = 1
    plus: bool = False
    service_type: str = ""
    esm_class: Octet = 0
    protocol_id: Octet = 0
    priority_flag: Octet = 0
    registered_delivery: Octet = 1
    alphabets: Annotated[tuple[Alphabet, ...], Meta(min_length=1, max_length=3)] = ("gsm7", "ucs2")
    data_coding: dict[Alphabet, Octet] = {}
    concatenation: Literal["udh16", "udh8", "sar", "payload"] = "udh16"
    max_parts: Annotated[int, Meta(ge=1, le=255)] = 10
    grapheme: bool = True
    weight: Annotated[int, Meta(ge=1, le=1000)] = 1


class Settings(Struct, frozen=True, kw_only=True):
    """Everything of one sluice.toml."""

    database: DatabaseSettings = DatabaseSettings()
    worker: WorkerSettings = WorkerSettings()
    carriers: dict[str, CarrierSettings] = {}
    source: str = ""

    def carrier(self, name: str) -> CarrierSettings:
        """Find a carrier; ConfigError with the names there are."""
        try:
            return self.carriers[name]
        except KeyError:
            expected = (
                f"one of {', '.join(sorted(self.carriers))}"
                if self.carriers
                else "at least one [carriers.NAME] section"
            )
            raise ConfigError([(f"carriers.{name}", expected, "no such section")]) from None

    @property
    def data_root(self) -> Path:
        """Folder of the embedded server."""
        if not self.database.data_root and os.environ.get("SLUICE_HOME"):
            return Path(os.environ["SLUICE_HOME"])
        beside = Path(self.source).absolute().parent if self.source else Path.cwd()
        return beside / Path(self.database.data_root or ".sluice").expanduser()


Problem = tuple[str, str, str]
_Section = TypeVar("_Section", bound=Struct)

INTERFACE_VERSION = {"3.3": 0x33, "3.4": 0x34, "5.0": 0x50}
# Secrets are never shown when they are wrong.
SECRET_KEYS = ("password", "dsn")


def load(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read a file and the environment.

    path         None: `sluice.toml` in the current folder if there is one, else defaults alone
    environment  None: os.environ
    raises       ConfigError with every problem
    """
    environment = os.environ if environment is None else environment
    if path is None and environment.get("SLUICE_CONFIG"):
        path = Path(environment["SLUICE_CONFIG"])
    if path is None and Path(FILE_NAME).is_file():
        path = Path(FILE_NAME)
    document: dict[str, Any] = {}
    if path is not None:
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError([(str(path), "a readable file", error.strerror or str(error))]) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError([(str(path), "TOML in UTF-8", str(error))]) from error
    problems: list[Problem] = []
    _overlay(document, environment, problems)
    settings = decode(document, str(path) if path is not None else "", problems)
    if problems:
        raise ConfigError(problems)
    return settings


def decode(document: Mapping[str, Any], source: str, problems: list[Problem]) -> Settings:
    """Turn a document into Settings; what is wrong is appended to `problems`, and defaults stand in for it."""
    for key in document:
        if key not in ("database", "worker", "carriers"):
            problems.append((key, _expected(key, ("database", "worker", "carriers")), "an unknown section"))
    database = _section(DatabaseSettings, document.get("database", {}), "database", problems)
    worker = _section(WorkerSettings, document.get("worker", {}), "worker", problems)
    carriers: dict[str, CarrierSettings] = {}
    sections = document.get("carriers", {})
    if not isinstance(sections, Mapping):
        problems.append(("carriers", "sections [carriers.NAME]", _found("carriers", sections)))
        sections = {}
    for name, section in sections.items():
        key = f"carriers.{name}"
        try:
            msgspec.convert(name, Name)
        except msgspec.ValidationError:
            problems.append((key, "a name of letters, digits, `_`, `.` and `-`", repr(name)))
        carrier = _section(CarrierSettings, section, key, problems)
        if carrier is not None:
            problems.extend(_carrier_problems(key, carrier))
            carriers[name] = carrier
    return Settings(
        database=database or DatabaseSettings(), worker=worker or WorkerSettings(), carriers=carriers, source=source
    )


def _carrier_problems(key: str, carrier: CarrierSettings) -> list[Problem]:
    """What the types cannot say."""
    problems: list[Problem] = []
    limits = (("system_id", 15), ("system_type", 12), ("address_range", 40), ("service_type", 5), ("source", 20))
    for field, limit in limits:
        value = getattr(carrier, field)
        if len(value) > limit or not value.isascii():
            problems.append((f"{key}.{field}", f"at most {limit} ASCII characters (SMPP 3.4 §5.2)", repr(value)))
    longest = 64 if carrier.long_password else 8
    if len(carrier.password) > longest or not carrier.password.isascii():
        hint = "" if carrier.long_password else ", or long_password = true"
        problems.append(
            (f"{key}.password", f"at most {longest} ASCII characters{hint}", f"{len(carrier.password)} characters")
        )
    if carrier.source_ton == 5 and len(carrier.source) > 11:
        problems.append((f"{key}.source", "at most 11 characters for an alphanumeric sender", repr(carrier.source)))
    if carrier.version == "3.3" and carrier.bind == "trx":
        problems.append((f"{key}.bind", '"tx+rx", since SMPP 3.3 has no transceiver', repr(carrier.bind)))
    if carrier.version == "3.3" and carrier.concatenation in ("sar", "payload"):
        problems.append(
            (f"{key}.concatenation", "udh16 or udh8, since SMPP 3.3 has no TLVs", repr(carrier.concatenation))
        )
    if carrier.reconnect_first_s > carrier.reconnect_longest_s:
        problems.append(
            (f"{key}.reconnect_first_s", f"at most {carrier.reconnect_longest_s}", str(carrier.reconnect_first_s))
        )
    if len(set(carrier.alphabets)) != len(carrier.alphabets):
        problems.append((f"{key}.alphabets", "each alphabet once", repr(list(carrier.alphabets))))
    return problems


def _section(kind: type[_Section], section: Any, key: str, problems: list[Problem]) -> _Section | None:
    """Decode field by field, so that each problem has its whole path and none hides another."""
    if not isinstance(section, Mapping):
        problems.append((key, f"a section [{key}]", _found(key, section)))
        return None
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    before = len(problems)
    for field, value in section.items():
        if field not in hints:
            problems.append((f"{key}.{field}", _expected(field, tuple(hints)), "an unknown key"))
            continue
        try:
            values[field] = msgspec.convert(value, hints[field], strict=True)
        except msgspec.ValidationError as error:
            problems.append((f"{key}.{field}", _choices(hints[field]) or _reason(str(error)), _found(field, value)))
    for field in msgspec.structs.fields(kind):
        if field.required and field.name not in section:
            problems.append((f"{key}.{field.name}", "a value", "nothing"))
    if len(problems) > before:
        return None
    return kind(**values)


def _choices(hint: Any) -> str:
    """`one of "a", "b"` for a Literal, else nothing."""
    return f"one of {', '.join(repr(choice) for choice in get_args(hint))}" if get_origin(hint) is Literal else ""


def _reason(message: str) -> str:
    """`Expected `int` >= 1` becomes `int >= 1`."""
    message = message.split(" - at ")[0].replace("`", "")
    message = message.removeprefix("Expected ").split(", got ")[0]
    return (
        message.removeprefix("Invalid enum value ")
        if not message.startswith("Invalid")
        else f"another value ({message})"
    )


def _expected(key: str, names: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(key, names, n=1)
    return f"{close[0]!r}?" if close else f"one of {', '.join(names)}"


def _found(key: str, value: Any) -> str:
    if key.rsplit(".", 1)[-1] in SECRET_KEYS:
        return f"{type(value).__name__} (not shown)"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _overlay(document: dict[str, Any], environment: Mapping[str, str], problems: list[Problem]) -> None:
    """Lay SLUICE__SECTION__KEY=value over the document; a value is read as TOML, else as text."""
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        path = variable[len(ENVIRONMENT_PREFIX) :].lower().split("__")
        place: Any = document
        for depth, part in enumerate(path[:-1]):
            if not isinstance(place, dict):
                break
            names = {name.lower().replace("-", "_").replace(".", "_"): name for name in place}
            part = names.get(part, part) if depth else part
            place = place.setdefault(part, {})
        if len(path) < 2 or not isinstance(place, dict):
            problems.append((variable, "SLUICE__SECTION__KEY", "a variable that names no setting"))
            continue
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        hint = path[-1]
        if hint in ("password", "system_id", "source", "dsn", "host", "system_type", "version") and not isinstance(
            value, str
        ):
            value = text
        place[hint] = value

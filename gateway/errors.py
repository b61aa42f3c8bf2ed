"""Every exception, by whose fault it is.

    GatewayError
    ├── ConfigError               the operator's: key, what was expected, what was found
    ├── FileFault                 the customer's: a file of contacts that cannot be read; nothing was written
    ├── SourceFault               the operator's: a role that can write, or an answer that is none; nothing was applied
    ├── AudienceFault             the author's: an audience that means nothing; where, what was expected and found
    ├── EncodeError               the caller's: what cannot be put on the wire    from NotEncodable | TooManyParts
    ├── ProtocolError
    │   ├── LocalProtocolError    ours: the session's state forbids what we asked
    │   └── RemoteProtocolError   theirs: they broke the link                     from LostFraming
    ├── LinkLost                  nobody's: the cause is chained
    │   └── TlsFault              theirs or the operator's: what a person must do about it
    ├── BindRefused               the SMSC's: command_status
    ├── NodeTaken                 the operator's: two nodes of one name
    ├── LeaseLost                 nobody's: others took us for dead; another worker takes our place
    └── StoreError                Postgres's; retryable or not
        └── OrderFault            whoever ordered it: a name of nothing, or what does not go as it stands

A submission that the SMSC refuses is no exception: it is an outcome (dispatch, status.py).
"""


class GatewayError(Exception):
    """The root of all that this package raises on purpose."""


class ConfigError(GatewayError):
    """One or more settings are wrong; nothing was started. `problems` holds (key, expected, found)."""

    def __init__(self, problems: list[tuple[str, str, str]]):
        self.problems = problems
        super().__init__("\n".join(f"{key}: expected {expected}, found {found}" for key, expected, found in problems))


class FileFault(GatewayError):
    """A file of contacts cannot be read at all; nothing was written. `fault` is one word, the text says what to do."""

    def __init__(self, fault: str, message: str):
        super().__init__(message)
        self.fault = fault


class SourceFault(GatewayError):
    """A source of another Postgres is refused, or its answer; nothing was applied. `fault` is one word."""

    def __init__(self, fault: str, message: str):
        super().__init__(message)
        self.fault = fault


class AudienceFault(GatewayError):
    """An audience cannot be read, or means nothing; it was neither kept nor asked. line, column: from 1."""

    def __init__(self, line: int, column: int, message: str):
        self.line = line
        self.column = column
        super().__init__(f"line {line}, column {column}: {message}")


class EncodeError(GatewayError):
    """The caller gave what cannot be put on the wire."""


class ProtocolError(GatewayError):
    """Somebody broke the rules of the session."""


class LocalProtocolError(ProtocolError):
    """We asked for what this state of the session forbids."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what this state forbids, or lost the framing: the link closes."""

    def __init__(self, message: str, command_status: int = 0x02, sequence_number: int = 0):
        super().__init__(message)
        self.command_status = command_status
        self.sequence_number = sequence_number


class LinkLost(GatewayError):
    """The TCP connection ended without an unbind."""


class TlsFault(LinkLost):
    """TLS was not agreed upon. `needs_person`: trying again soon will not mend it."""

    def __init__(self, message: str, *, needs_person: bool):
        super().__init__(message)
        self.needs_person = needs_person


class BindRefused(GatewayError):
    """The SMSC answered the bind with an error."""

    def __init__(self, system_id: str, command_status: int, name: str):
        super().__init__(f"bind of {system_id!r} refused: {name} (0x{command_status:02x})")
        self.command_status = command_status


class NodeTaken(GatewayError):
    """Another worker that lives stands at this place of this node; nothing was started."""


class LeaseLost(GatewayError):
    """Others have taken this worker for dead and fenced it: it sends nothing more, and another one takes its place."""


class StoreError(GatewayError):
    """Postgres refused or was away.

    retryable  the same work may succeed later
    elsewhere  the server that was asked is well, and another node of its cluster is not: a matter of the lanes there
    """

    def __init__(self, message: str, retryable: bool = False, elsewhere: bool = False):
        super().__init__(message)
        self.retryable = retryable
        self.elsewhere = elsewhere


class OrderFault(StoreError):
    """Somebody asked for what there is not, or for what does not go as it stands; nothing was changed."""

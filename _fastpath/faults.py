"""The four plain faults of the lowest floor. Two doors above turn them into the tree of gateway.errors."""


class NotEncodable(ValueError):
    """A text holds a character that the asked alphabet lacks; args: reason, index of the character."""


class TooManyParts(ValueError):
    """A text needs more parts than a concatenation header can count (255), or than the carrier allows."""


class MalformedPdu(ValueError):
    """A whole PDU whose inside contradicts itself; the stream behind it is sound.

    args: what is wrong, command_status to answer with, offset of the fault in the PDU.
    """

    def __init__(self, what: str, command_status: int = 0x02, offset: int = -1):
        super().__init__(what, command_status, offset)
        self.what = what
        self.command_status = command_status
        self.offset = offset

    def __str__(self) -> str:
        return f"{self.what} (offset {self.offset}, command_status 0x{self.command_status:02x})"


class LostFraming(ValueError):
    """A command_length that cannot be: nothing behind it can be read, the link must close."""

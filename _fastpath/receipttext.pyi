from typing import TypedDict

from typing_extensions import Buffer

class _Receipt(TypedDict):
    id: str
    sub: str | None
    dlvrd: str | None
    submit_date: str | None
    done_date: str | None
    stat: str
    err: str | None
    text: str | None
    message_state: int | None

def parse(octets: Buffer) -> _Receipt | None: ...

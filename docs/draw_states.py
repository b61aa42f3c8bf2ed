"""Draw docs/states.md from the tables of gateway.smpp.session: `python docs/draw_states.py`."""

from pathlib import Path

from gateway.smpp.session import BOUND, STEPS, TABLE, Role, State
from gateway.smpp.spec import COMMANDS

HEAD = """\
# States of an SMPP session

Drawn by `docs/draw_states.py` from `STEPS` and `TABLE` of `gateway/smpp/session.py`; a test holds them together.

A step is taken when the PDU travels, in whichever direction it belongs; a `_resp` only with status 0, but for
`unbind_resp`. From every state CLOSED follows when the connection ends, framing is lost or a timer gives up.

"""

MIDDLE = """
## Who may send which request

E = the ESME, M = the SMSC. Responses and `generic_nack` follow their request. A request outside the table is answered
by its own response with `ESME_RINVBNDSTS`, a second bind with `ESME_RALYBND`; both keep the session. While an `unbind`
is on its way, the peer of the side that asked goes on as in the state before.

"""


def draw() -> str:
    """Give the whole page."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> OPEN: TCP connection"]
    lines += [f"    {state.name} --> {after.name}: {command}" for (state, command), after in STEPS.items()]
    lines += ["    UNBOUND --> CLOSED: TCP connection ends", "    CLOSED --> [*]", "```"]
    states = [state for state in State if state is not State.CLOSED]
    table = ["| request | " + " | ".join(state.name for state in states) + " |", "|---" * (len(states) + 1) + "|"]
    for command in COMMANDS:
        if command.is_response:
            continue
        cells = [
            " ".join(
                letter for role, letter in ((Role.ESME, "E"), (Role.SMSC, "M")) if command.name in TABLE[state][role]
            )
            for state in states
        ]
        table.append(f"| {command.name} | " + " | ".join(cells) + " |")
    bound = ", ".join(state.name for state in State if state in BOUND)
    return HEAD + "\n".join(lines) + "\n" + MIDDLE + "\n".join(table) + f"\n\nBound states: {bound}.\n"


if __name__ == "__main__":
    Path(__file__).with_name("states.md").write_text(draw(), "utf-8")

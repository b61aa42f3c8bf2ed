"""Cut a file of SQL into its statements, as psql does.

A semicolon ends a statement unless it stands in

    'a string', E'one with \\' escapes', "a name"      quotes double themselves
    $$ a body $$, $tag$ a body $tag$                  but $1 is a parameter and a$b$ a name
    -- a comment   /* one /* inside */ another */
    ( a rule's actions; )                             any parentheses
    BEGIN ATOMIC … END                                the body of an SQL-standard function

Not here: what a statement means. psql's own commands (\\copy) and COPY's inline rows are no SQL and are refused or
end as syntax errors of the server.
"""

import re

_PIECE = re.compile(
    r"""
      (?P<line_comment>  --[^\n]* )
    | (?P<block_start>   /\* )
    | (?P<escaped>       (?<![\w$]) [eE]' (?: [^'\\] | \\. | '' )* (?P<escaped_end>')? )
    | (?P<string>        ' (?: [^'] | '' )* (?P<string_end>')? )
    | (?P<name>          " (?: [^"] | "" )* (?P<name_end>")? )
    | (?P<dollar>        (?<![\w$]) \$ (?: [^\W\d]\w* )? \$ )
    | (?P<word>          [^\W\d] [\w$]* )
    | (?P<open>          [(\[] )
    | (?P<close>         [)\]] )
    | (?P<semicolon>     ; )
    | (?P<backslash>     \\ )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def split(sql: str) -> list[str]:
    """Return the statements of `sql`, each without its semicolon, with the comments that stand before it.

    raises  ValueError with the line, on a string, comment or body that does not end, and on a psql command
    """
    found: list[str] = []
    start = at = depth = begun = 0
    words: list[str] = []
    while (match := _PIECE.search(sql, at)) is not None:
        kind, at = match.lastgroup, match.end()
        where = match.start()
        if kind == "semicolon":
            if depth == 0 and begun == 0:
                if words:
                    found.append(sql[start:where].strip())
                start, words = at, []
        elif kind == "block_start":
            at = _comment_end(sql, where)
        elif kind in ("escaped", "string", "name"):
            if match[f"{kind}_end"] is None:
                raise _unended(sql, where, "a quote")
            words.append("")
        elif kind == "dollar":
            end = sql.find(match[0], at)
            if end < 0:
                raise _unended(sql, where, match[0])
            at = end + len(match[0])
            words.append("")
        elif kind == "open":
            depth += 1
            words.append("")
        elif kind == "close":
            depth = max(0, depth - 1)
        elif kind == "backslash":
            raise ValueError(
                f"line {_line(sql, where)}: expected SQL, found a backslash: psql's commands do not run here"
            )
        elif kind == "word":
            word = match[0].lower()
            words.append(word)
            # psql's rule: only in CREATE [OR REPLACE] FUNCTION | PROCEDURE do BEGIN, CASE and END nest.
            if words[0] == "create" and {"function", "procedure"} & set(words[1:4]):
                if word == "begin" or (word == "case" and begun):
                    begun += 1
                elif word == "end" and begun:
                    begun -= 1
    if begun:
        raise _unended(sql, start, "BEGIN")
    if words:
        found.append(sql[start:].strip())
    return found


def bare(statement: str) -> str:
    """The statement without the comments before it: what a log line or an error shows."""
    at = 0
    while True:
        while at < len(statement) and statement[at].isspace():
            at += 1
        if statement.startswith("--", at):
            end = statement.find("\n", at)
            at = len(statement) if end < 0 else end
        elif statement.startswith("/*", at):
            at = _comment_end(statement, at)
        else:
            return statement[at:]


def _comment_end(sql: str, start: int) -> int:
    depth, at = 0, start
    while (edge := _COMMENT_EDGE.search(sql, at)) is not None:
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
        if depth == 0:
            return at
    raise _unended(sql, start, "/*")


def _line(sql: str, at: int) -> int:
    return sql.count("\n", 0, at) + 1


def _unended(sql: str, at: int, what: str) -> ValueError:
    return ValueError(f"line {_line(sql, at)}: expected the end of {what}, found the end of the file")

"""sluice codec: one line out for each line in, whatever comes in, and files of vectors judged."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.__main__ import main

GOLDEN_PATH = Path(__file__).parents[1] / "golden/vectors"


def run(*args: str, given: bytes = b""):
    result = CliRunner().invoke(main, ["codec", *args], input=given)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


def test_lines_are_answered_in_order_with_their_ids():
    lines = [{"id": n, "kind": "id_match", "resp": "10", "receipt": str(n)} for n in range(20)]
    code, found = run(given="\n".join(map(json.dumps, lines)).encode())
    assert code == 0
    assert [(line["id"], line["match"]) for line in found] == [(n, n in (10, 16)) for n in range(20)]


def test_malformed_line_is_an_error_and_the_next_one_is_answered():
    question = b'{"kind":"pack","id":"q","unpacked":"616263"}'
    broken = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"kind":"pack","unpacked":NaN}',
        b'{"a":' * 5000,
        b"1" * 5000,
        b'{"id":7,"kind":"pack"}',
    ]
    code, found = run(given=b"\r\n".join(each for line in broken for each in (line, question)))
    assert code == 0
    assert len(found) == 2 * len(broken)
    assert all("error" in line for line in found[::2])
    assert all(line["packed"] == "61f118" for line in found[1::2])
    assert found[-2]["id"] == 7


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=5))
def test_any_lines_give_as_many_lines(lines):
    code, found = run(given=b"".join(line + b"\n" for line in lines))
    assert code == 0
    assert len(found) == len(lines)


def test_byte_order_mark_and_lone_surrogates_pass_through():
    question = {"kind": "encode", "id": "\ud800", "text": "a", "alphabet": "gsm7"}
    _, found = run(given=b"\xef\xbb\xbf" + json.dumps(question).encode())
    assert found == [{"id": "\ud800", "kind": "encode", "hex": "61"}]


def test_several_files_of_vectors_are_judged_after_one_option():
    paths = [str(path) for path in sorted(GOLDEN_PATH.glob("*.json"))]
    code, found = run("--vectors", *paths)
    assert code == 0
    assert len(found) > 60
    assert all(line["pass"] for line in found)


def test_option_may_be_repeated():
    code, found = run("--vectors", str(GOLDEN_PATH / "time.json"), "--vectors", str(GOLDEN_PATH / "stream.json"))
    assert code == 0
    assert {line["kind"] for line in found} == {"time", "stream"}


@pytest.mark.parametrize(
    "content",
    [
        '[{"kind":"id_match","id":1,"resp":"a","receipt":"b","match":true}]',
        '{"kind":"id_match","id":1,"resp":"a","receipt":"b","match":true}',
        '{"kind":"pack","unpacked":"","fill_bits":0,"packed":""}\n{"kind":"pack","unpacked":"61","packed":"62"}\n',
        '[{"kind":"pack","unpacked":"61"}]',
        '[{"kind":"pdu_bad","hex":"00"}]',
        "[1]",
        "not JSON",
    ],
)
def test_vector_that_fails_makes_the_exit_code_1(tmp_path, content):
    (tmp_path / "v.json").write_text(content)
    code, found = run("--vectors", str(tmp_path / "v.json"))
    assert code == 1
    assert not found[-1]["pass"]


def test_file_that_cannot_be_read_fails_and_the_others_are_judged(tmp_path):
    code, found = run("--vectors", str(tmp_path / "none.json"), str(GOLDEN_PATH / "time.json"), str(tmp_path))
    assert code == 1
    assert ["file" in line for line in found] == [True, *[False] * (len(found) - 2), True]


def test_file_without_the_option_is_a_usage_error():
    result = CliRunner().invoke(main, ["codec", "x.json"])
    assert result.exit_code == 2
    assert "--vectors" in result.output

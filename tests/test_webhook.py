"""Signatures, answers and addresses of what other systems are told (WF-10)."""

import base64
import hmac
from datetime import UTC, datetime, timedelta

import pytest

from gateway.config import load
from gateway.errors import ConfigError
from gateway.webhook import (
    PAUSES_S,
    TRIES,
    WebhookSettings,
    again_at,
    headers_of,
    host_of,
    is_for_good,
    is_private,
    url_problem,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_wf_10_a_signature_covers_id_time_and_body() -> None:
    headers = headers_of("7:3", b"{}", "a secret", NOW)
    wanted = hmac.digest(b"a secret", f"7:3.{int(NOW.timestamp())}.{{}}".encode(), "sha256")
    assert headers["Webhook-Signature"] == "v1," + base64.b64encode(wanted).decode()
    assert (headers["Webhook-Id"], headers["Webhook-Timestamp"]) == ("7:3", str(int(NOW.timestamp())))
    assert headers_of("7:4", b"{}", "a secret", NOW)["Webhook-Signature"] != headers["Webhook-Signature"]


def test_wf_10_tries_come_further_and_further_apart_and_end() -> None:
    pauses = [again_at(tries, NOW, 0) for tries in range(1, TRIES + 1)]
    assert pauses == [*(NOW + timedelta(seconds=pause) for pause in PAUSES_S), None]
    assert NOW + timedelta(seconds=10) < (again_at(1, NOW, 255) or NOW) < NOW + timedelta(seconds=13)


@pytest.mark.parametrize(
    ("status", "good"), [(301, True), (400, True), (410, True), (408, False), (429, False), (503, False)]
)
def test_what_the_caller_did_wrong_is_not_tried_again(status: int, good: bool) -> None:
    assert is_for_good(status) is good


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("8.8.8.8", False), ("2606:4700::1111", False), ("127.0.0.1", True), ("10.1.2.3", True),
        ("169.254.169.254", True), ("192.168.0.1", True), ("100.64.0.1", True), ("0.0.0.0", True), ("224.0.0.1", True),
        ("::1", True),
        ("fe80::1%eth0", True), ("fd00::1", True), ("::ffff:127.0.0.1", True), ("::ffff:8.8.8.8", False),
        ("64:ff9b::7f00:1", True), ("2002:7f00:1::", True), ("no address", True),
    ],
)  # fmt: skip
def test_addresses_of_no_public_network_are_told_from_others(address: str, private: bool) -> None:
    assert is_private(address) is private


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://crm.example/hook", ""), ("http://crm.example/hook", "http,"), ("https://10.0.0.1/", "private"),
        ("https://[::1]:8443/", "private"), ("http://localhost:8080/", "private"),
        ("https://u:p@crm.example/", "password"),
        ("https:///x", "no host"), ("https://crm.example:99999/", "Port out of range"), ("https://[crm/", "Invalid"),
    ],
)  # fmt: skip
def test_addresses_that_may_not_be_told_say_why(url: str, problem: str) -> None:
    found = url_problem(url, WebhookSettings())
    assert problem in found and bool(found) is bool(problem)


def test_private_addresses_may_be_told_where_the_settings_say_so_and_http_this_machine_alone() -> None:
    allowed = WebhookSettings(allow_private=True)
    urls = ("http://localhost:8080/", "http://127.0.0.1/", "https://10.0.0.1/", "http://10.0.0.1/")
    assert [bool(url_problem(url, allowed)) for url in urls] == [False, False, False, True]


def test_hosts_are_told_apart_by_name_and_port() -> None:
    assert [host_of(url) for url in ("https://A.example/x", "http://a.example:81")] == ["a.example:443", "a.example:81"]


def test_the_secret_is_read_from_a_variable_or_a_file_and_is_never_shown(tmp_path) -> None:
    path = tmp_path / "sluice.toml"
    path.write_text('[webhooks]\nsecret_env = "HOOK"\n')
    found = load(path, {"HOOK": "sixteen letters or more"}).webhooks
    assert found.secret == "sixteen letters or more" and "sixteen" not in repr(found)
    path.write_text('[webhooks]\nsecret = "short"\n')
    with pytest.raises(ConfigError, match=r"webhooks.secret: expected 16 characters.*5 \(not shown\)"):
        load(path, {})

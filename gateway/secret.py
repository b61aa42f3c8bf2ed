"""Secrets at rest: a password in a file of settings need not stand there.

    password      = "encrypted:v1:…"        sealed by `sluice secret`; the key is in SLUICE_KEY or SLUICE_KEY_FILE
    password_file = "acme.password"         a file beside the settings; its last line end is none of the password
    password_env  = "ACME_PASSWORD"         a variable

Sealed is base64url of a nonce of 12 octets, the AES-256-GCM ciphertext and its tag of 16. The key is 64 hexadecimal
digits. Nothing here ever says a secret: faults name the setting, and what was expected.
Not here: where settings come from (config.py).
"""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError

PREFIX = "encrypted:v1:"
# What may be given so, in each section of carriers.
KEYS = ("password", "outbind_password")
# And in sections of which there is one.
SINGLE = {"webhooks": "secret"}
_PURPOSE = b"sluice secret v1"
_NONCE_OCTETS = 12
Problem = tuple[str, str, str]


def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise ConfigError([("encrypted:", "the package cryptography", "it is not installed")]) from None
    return AESGCM(key)


def key_of(environment: Mapping[str, str]) -> bytes:
    """Read the key. raises ConfigError."""
    text, name = environment.get("SLUICE_KEY", ""), "SLUICE_KEY"
    if not text and environment.get("SLUICE_KEY_FILE"):
        name = "SLUICE_KEY_FILE"
        text = _read(Path(environment[name]), name)
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        found = "none" if not text else f"{len(text.strip())} characters (not shown)"
        raise ConfigError([(name, "64 hexadecimal digits, such as openssl rand -hex 32 makes", found)])
    return key


def seal(text: str, key: bytes, nonce: bytes) -> str:
    """Encrypt; the nonce of 12 octets must never be used twice with a key."""
    sealed = nonce + _cipher(key).encrypt(nonce, text.encode(), _PURPOSE)
    return PREFIX + base64.urlsafe_b64encode(sealed).decode()


def unseal(text: str, key: bytes, where: str) -> str:
    """Decrypt. raises ConfigError where the key is another, or a character was changed."""
    try:
        octets = base64.b64decode(text.removeprefix(PREFIX), altchars=b"-_", validate=True)
        plain: bytes = _cipher(key).decrypt(octets[:_NONCE_OCTETS], octets[_NONCE_OCTETS:], _PURPOSE)
        return plain.decode()
    except ConfigError:
        raise
    except (
        Exception
    ):  # of the library: InvalidTag, and ValueError of several kinds; chained, they would say what was read
        problem = (where, "what `sluice secret` made with the key of now", "what it does not open (not shown)")
        raise ConfigError([problem]) from None


def reveal(document: Mapping[str, Any], beside: Path, environment: Mapping[str, str], problems: list[Problem]) -> None:
    """Put the secrets into a document of settings, in place; what is wrong is appended to `problems`."""
    carriers = document.get("carriers")
    for name, section in carriers.items() if isinstance(carriers, dict) else ():
        if not isinstance(section, dict):
            continue
        for field in KEYS:
            try:
                _reveal(section, field, f"carriers.{name}", beside, environment)
            except ConfigError as error:
                problems += error.problems
    for name, field in SINGLE.items():
        one = document.get(name)
        if isinstance(one, dict):
            try:
                _reveal(one, field, name, beside, environment)
            except ConfigError as error:
                problems += error.problems


def _reveal(section: dict[str, Any], field: str, where: str, beside: Path, environment: Mapping[str, str]) -> None:
    ways = [way for way in (field, f"{field}_file", f"{field}_env") if way in section]
    if len(ways) > 1:
        raise ConfigError([(f"{where}.{field}", "one of them", " and ".join(ways))])
    for suffix in ("_file", "_env"):
        if field + suffix in section:
            named = section.pop(field + suffix)
            if not isinstance(named, str) or not named or "\0" in named:
                raise ConfigError([(f"{where}.{field}{suffix}", "a name", "another kind")])
            if suffix == "_file":
                section[field] = _read(beside / Path(named), f"{where}.{field}_file").removesuffix("\n")
            elif named in environment:
                section[field] = environment[named]
            else:
                raise ConfigError([(f"{where}.{field}_env", "a variable that is set", repr(named))])
    value = section.get(field)
    if isinstance(value, str) and value.startswith(PREFIX):
        section[field] = unseal(value, key_of(environment), f"{where}.{field}")


def _read(path: Path, where: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o004:
                raise ConfigError([(where, "a file that not everybody may read (chmod o-r)", str(path))])
            return file.read(4096)
    except OSError as error:
        raise ConfigError([(where, "a readable file", f"{path}: {(error.strerror or str(error)).lower()}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([(where, "text in UTF-8", f"{path}: other octets (not shown)")]) from None

"""TLS towards an SMSC: what we offer, what we demand, and what its errors ask a person to do.

TLS 1.2 at least. The certificate must be good, and for the name we connected to, unless `tls_verify = false`; the name
is sent as SNI either way. Files are read anew for every connection, so a renewed certificate needs no restart.
A connection goes straight to the SMSC: no proxy is ever used, and the variables http_proxy and their like mean nothing.
Not here: the connection itself (bind.py, link.py).
"""

import ssl

from gateway.config import CarrierSettings
from gateway.errors import TlsFault

# X509_V_ERR_…: the certificate's own faults (openssl/x509_vfy.h).
NOT_YET_VALID, EXPIRED = 9, 10
UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21, 24, 27})
OTHER_NAME = frozenset({62, 64})
# The peer's first octets are no TLS record; or they are an alert that says the same of ours.
NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE", "BAD_LENGTH"})
NO_TLS_12 = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW"})


def context_of(settings: CarrierSettings) -> ssl.SSLContext:
    """Make what a connection needs.

    raises  TlsFault, with the setting, when a file cannot be used
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not settings.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.tls_ca_file:
        try:
            context.load_verify_locations(settings.tls_ca_file)
        except (OSError, ValueError) as error:
            raise _file_fault("tls_ca_file", settings.tls_ca_file, "certificates in PEM", error) from error
    else:
        context.load_default_certs()
    if settings.tls_certificate_file:
        try:
            # A passphrase is never asked for on the terminal of a service.
            context.load_cert_chain(settings.tls_certificate_file, settings.tls_key_file or None, password=lambda: "")
        except (OSError, ValueError) as error:
            names = " and ".join(name for name in (settings.tls_certificate_file, settings.tls_key_file) if name)
            expected = "a certificate and its key in PEM, without a passphrase"
            raise _file_fault("tls_certificate_file", names, expected, error) from error
    return context


def server_name(settings: CarrierSettings, host: str) -> str:
    """Name whom the certificate must be for; the same goes out as SNI."""
    return settings.tls_server_name or host


def explain(error: Exception, settings: CarrierSettings, host: str) -> TlsFault:
    """Say what went wrong in a handshake, or what ended a connection behind one, and what a person can do."""
    reason = getattr(error, "reason", None) or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFault(f"TLS: {_fault_of_certificate(error, server_name(settings, host))}", needs_person=True)
    if reason in NO_TLS:
        return TlsFault(f"TLS: {host} does not speak TLS at this port: another port, or tls = false", needs_person=True)
    if reason in NO_TLS_12:
        return TlsFault(f"TLS: {host} speaks no TLS 1.2 or newer, and less is not safe", needs_person=True)
    if "CERTIFICATE_REQUIRED" in reason or (reason.endswith("ALERT_HANDSHAKE_FAILURE")):
        has = "does not take our certificate" if settings.tls_certificate_file else "wants a certificate of ours"
        return TlsFault(f"TLS: {host} {has}: see tls_certificate_file ({reason})", needs_person=True)
    if "ALERT" in reason:
        return TlsFault(f"TLS: {host} refuses us: {reason}", needs_person=True)
    if isinstance(error, ssl.SSLError):
        return TlsFault(f"TLS: {reason or str(error)}", needs_person=False)
    return TlsFault(
        f"TLS: {host} closed the connection during the handshake; does it speak TLS at this port?", needs_person=False
    )


def _fault_of_certificate(error: ssl.SSLCertVerificationError, name: str) -> str:
    code = error.verify_code
    if code == EXPIRED:
        return f"the certificate of {name} has expired: the carrier must renew it (is this machine's clock right?)"
    if code == NOT_YET_VALID:
        return f"the certificate of {name} is not valid yet: is this machine's clock right?"
    if code in OTHER_NAME:
        return f"the certificate is for another name than {name}: ask the carrier which, and say it as tls_server_name"
    if code in UNKNOWN_ISSUER:
        return f"the certificate of {name} is signed by nobody we trust: tls_ca_file must hold the carrier's CA"
    return f"the certificate of {name} is no good: {error.verify_message} ({code})"


def _file_fault(key: str, path: str, expected: str, error: Exception) -> TlsFault:
    found = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
    return TlsFault(f"{key} {path}: expected {expected}, found: {found.lower()}", needs_person=True)

"""TLS of gRPC: what a process shows, whom it trusts, and files that are renewed while it runs.

docs/security.md says how it is set up. Files are PEM; they are read again when connections are made, because whoever
issues certificates (cert-manager, for one) replaces them in place long before they expire.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from recstack.errors import StackError

if TYPE_CHECKING:
    from recstack.config import Settings, TlsSettings

log = logging.getLogger("recstack.rpc")

_CLOSED = ("Socket closed", "Connection reset", "Broken pipe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What a caller needs for TLS: paths of PEM files.

    authority: certificates of those whom it trusts. certificate, key: its own, for servers that ask for one.
    """

    authority: str | Path
    certificate: str | Path = ""
    key: str | Path = ""


@dataclass(frozen=True, slots=True)
class Pem:
    """Contents of the files of a `Tls`; empty where it names none."""

    authority: bytes
    certificate: bytes
    key: bytes


def tls_to(section: str, settings: Settings) -> Tls | None:
    """How to call the service that a section of the settings is about: None means without TLS."""
    tls = settings.tls
    if not tls.authority or (section == "ranking" and settings.ranking.plaintext):
        return None
    return Tls(authority=tls.authority, certificate=tls.certificate, key=tls.key)


def read_pem(tls: Tls) -> Pem:
    """The files as they are now, unchecked. Raises StackError for one that cannot be read."""
    return Pem(_read(tls.authority), _read(tls.certificate), _read(tls.key))


def load_pem(tls: Tls) -> Pem:
    """The files as they are now.

    Raises StackError for one that cannot be read, a key that is not the certificate's, and an authority without
    certificates.
    """
    pem = read_pem(tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if tls.certificate:
        try:
            context.load_cert_chain(
                tls.certificate, tls.key, password=str
            )  # an encrypted key must not ask the terminal
        except OSError as error:
            raise StackError(
                f"tls.certificate {tls.certificate} and tls.key {tls.key} do not make a pair ({_reason(error)}); "
                "expected a PEM certificate chain and its own unencrypted key"
            ) from error
    if tls.authority:
        try:
            context.load_verify_locations(tls.authority)
        except OSError as error:
            raise StackError(
                f"tls.authority {tls.authority} has no PEM certificate ({_reason(error)}); "
                "expected those of whom to trust"
            ) from error
    return pem


def channel_credentials(pem: Pem) -> grpc.ChannelCredentials:
    """Credentials of a channel."""
    return grpc.ssl_channel_credentials(pem.authority, pem.key or None, pem.certificate or None)


def server_credentials(settings: TlsSettings) -> grpc.ServerCredentials:
    """Credentials of a server, which shows each new connection the certificate that is in the files by then.

    Raises StackError when the files cannot be used at the start. Files that cannot be used later are ignored, with a
    warning: the certificate before goes on.
    """
    files = Tls(
        authority=settings.authority if settings.mutual else "", certificate=settings.certificate, key=settings.key
    )
    shown = load_pem(files)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """What gRPC asks before each handshake, in a thread of its own; None means as before."""
        nonlocal shown
        try:
            if read_pem(files) == shown:
                return None
            shown = load_pem(files)
        except StackError as error:
            log.warning("%s; the certificate before goes on", error)
            return None
        log.info("%s was renewed", files.certificate)
        return _configuration(shown)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown),
        renewed,  # type: ignore[arg-type]  # its stub lacks the None that its docstring asks for
        require_client_authentication=settings.mutual,
    )


def connection_problem(details: str) -> str:
    """In words for people, what gRPC's own words about a failed connection say of TLS; empty if nothing."""
    if "Hostname Verification" in details:
        return "its certificate is not for this name"
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return "its certificate is not of tls.authority, or is out of date"
    if "WRONG_VERSION_NUMBER" in details:
        return "it does not speak TLS"
    if "last error" in details and any(word in details for word in _CLOSED):
        return "it closed the connection; does it speak TLS, or ask for a certificate?"
    return ""


def _configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.authority or None)


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes() if path else b""
    except OSError as error:
        raise StackError(f"cannot read {path}, which the tls settings name: {error.strerror}") from error


def _reason(error: OSError) -> str:
    """Of an error of the module ssl, for example "key values mismatch"."""
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    return str(reason).replace("_", " ").lower()

"""The certificate of both ports, and its change while the server runs.

The parts are given a copy, certificates and key in one file in the data dir, and the supervisor alone writes it: whole,
and only after the pair was found sound. So a part that is started again in the middle of a renewal, or while the new
files are broken, has the pair that served until then.
"""

import logging
import os
import re
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from catchment.watch import LOOK_S, FileWatch, stamp

FILE_NAME = "tls.pem"
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all sound
_CERTIFICATES = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# The kinds of keys that both ports can serve, as their certificate tells (RFC 3279, 5480, 8410): RSA, P-256, P-384 and
# Ed25519.
_KINDS = tuple(
    bytes.fromhex(text)
    for text in (
        "300d06092a864886f70d0101010500",
        "301306072a8648ce3d020106082a8648ce3d030107",
        "301006072a8648ce3d020106052b81040022",
        "300506032b65700321",
    )
)
_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----.*?-----END (?:[A-Z]+ )?PRIVATE KEY-----", re.DOTALL)

logger = logging.getLogger(__name__)


class UnusableCertificate(Exception):
    """Why the pair cannot be used. `setting` is the one that names the file."""

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(reason)
        self.setting = setting
        self.reason = reason


def faults(cert: Path, key: Path) -> list[UnusableCertificate]:
    """Why the pair cannot be used; nothing if it can."""
    found = []
    for name, file in (("tls_cert", cert), ("tls_key", key)):
        try:
            file.read_bytes()
        except OSError as error:
            found.append(UnusableCertificate(name, f"it cannot be read: {error.strerror}"))
    if not found:
        try:
            # An empty password, so that a key that wants one is refused instead of asked for.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
        except ssl.SSLError as error:
            reason = (error.reason or "not PEM").replace("_", " ").lower()
            allowed = "it must be a certificate in PEM whose key is tls_key, without a password"
            found.append(UnusableCertificate("tls_cert", f"{allowed}: {reason}"))
        else:
            first = _CERTIFICATES.findall(cert.read_bytes())[:1] or [b""]
            if not any(kind in ssl.PEM_cert_to_DER_cert(first[0].decode()) for kind in _KINDS if first[0]):
                found.append(UnusableCertificate("tls_cert", "its key must be one of RSA, P-256, P-384 or Ed25519"))
    return found


def _check(cert: Path, key: Path) -> None:
    for fault in faults(cert, key):
        raise fault


class Certificate:
    """The pair `cert` and `key`, and its copy `kept`."""

    def __init__(self, cert: Path, key: Path, kept: Path) -> None:
        self._cert, self._key = cert, key
        self._kept = kept
        self._files = FileWatch(cert, key)
        self._told = False  # that the copy cannot be written, since it last could

    def take(self) -> bool:
        """Copies the pair; whether it is another one. Raises `UnusableCertificate` and `OSError`."""
        _check(self._cert, self._key)
        certificates, keys = _CERTIFICATES.findall(self._cert.read_bytes()), _KEY.findall(self._key.read_bytes())
        pair = b"\n".join([*certificates, *keys[:1], b""])
        try:
            if self._kept.read_bytes() == pair:
                return False
        except FileNotFoundError:
            pass
        handle, name = tempfile.mkstemp(dir=self._kept.parent, prefix=self._kept.name)  # created with mode 0600
        fresh = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(pair)
            _check(fresh, fresh)  # for the files may have changed meanwhile
            fresh.replace(self._kept)
        finally:
            fresh.unlink(missing_ok=True)
        return True

    def look(self) -> None:
        """Takes the pair if the files have changed; one that cannot be used changes nothing, and is told. One that the
        disk does not take is tried again at each look."""
        if not self._files.changed():
            return
        try:
            if self.take():
                logger.info("took the certificate %s as it is now", self._cert)
            self._told = False
        except UnusableCertificate as error:
            what = "the certificate in use stays; mend the files, and they are taken within seconds. ingest.%s: %s"
            logger.error(what, error.setting, error.reason)
        except OSError as error:
            self._files.forget()
            if not self._told:
                what = "the certificate in use stays until %s can be written, which is tried each second: %s"
                logger.error(what, self._kept, error.strerror)
            self._told = True


def serving_context(kept: Path) -> ssl.SSLContext:
    """How the console's port speaks TLS: 1.2 or newer, with forward secrecy."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(kept)
    return context


def follow(kept: Path, take: Callable[[], None]) -> None:
    """Calls `take` from a thread whenever the certificate is another one than now."""
    taken = stamp(kept)

    def look() -> None:
        nonlocal taken
        while True:
            time.sleep(LOOK_S)
            found = stamp(kept)
            if found and found != taken:  # it is written whole
                taken = found
                take()

    threading.Thread(target=look, name="certificate-watch", daemon=True).start()

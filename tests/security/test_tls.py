"""HTTPS on both ports: what is spoken, and how another certificate comes into use while requests go on."""

import json
import os
import signal
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from catchment import certificate, config
from catchment.api.shield import HSTS, STRICT_HEADERS
from tests.conftest import TOKEN, AppOf, Server, catchment, until

WITHIN_S = 120.0
ACTION = {"action_name": "A", "user_id": "u", "request": {"uri": "https://x/y"}}
CLIENTS = 3  # of each kind
PORTS = pytest.mark.parametrize("port", [0, 1], ids=["ingest", "console"])


class Files:
    """The files of a certificate, as somebody who renews it replaces them."""

    def __init__(self, folder: Path) -> None:
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self._ca = trustme.CA()
        self.renew()

    def renew(self) -> bytes:
        """Another certificate with another key, moved into place one after the other; its DER."""
        made = self._ca.issue_cert("127.0.0.1", "localhost")
        for file, text in ((self.key, made.private_key_pem), (self.cert, made.cert_chain_pems[0])):
            fresh = file.with_suffix(".fresh")
            text.write_to_path(str(fresh))
            fresh.replace(file)
        return ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())


class Shaken(NamedTuple):
    """What a handshake came to; `certificate` in DER."""

    certificate: bytes | None
    version: str | None
    cipher: str
    protocol: str | None


WORKERS = 2
HTTP2 = {"CATCHMENT_INGEST__HTTP2": "true"}


class Encrypted:
    """A server with HTTPS, its files, and where its log output goes."""

    def __init__(self, folder: Path) -> None:
        self.files, self._output = Files(folder), folder
        tls = ["--tls-cert", str(self.files.cert), "--tls-key", str(self.files.key)]
        self.server = Server(folder / "data", "--workers", str(WORKERS), *tls, output=folder, environment=HTTP2)
        self.ports = [httpx.URL(url).port or 0 for url in (self.server.ingest, self.server.console)]
        self.server.http = httpx.Client(verify=any_certificate(), trust_env=False, timeout=WITHIN_S)
        self.app = AppOf(self.server, "default")

    def served(self) -> set[bytes | None]:
        """The certificates that both ports serve now, by some handshakes each."""
        try:
            return {shaken(port).certificate for port in self.ports for _ in range(6)}
        except OSError:
            return set()  # a handshake with a process that was just leaving; requests are what must not fail

    def renew(self) -> bytes:
        """Another certificate, until it is served and nobody has the one before; its DER."""
        fresh = self.files.renew()
        until(lambda: self.served() == {fresh}, within_s=WITHIN_S)
        until(lambda: len(self.server.parts("edge")) == 1 + WORKERS, within_s=WITHIN_S)
        return fresh

    def logged(self, words: str) -> bool:
        return words in (self._output / "stderr").read_text()

    def stop(self) -> int:
        self.server.http.close()
        self.server.api.close()
        self.server.process.terminate()
        return self.server.process.wait(150)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    running = Encrypted(tmp_path_factory.mktemp("tls"))
    yield running
    assert running.stop() == 0
    assert not running.logged("Traceback")


def any_certificate() -> ssl.SSLContext:
    """A client that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def shaken(port: int, context: ssl.SSLContext | None = None) -> Shaken:
    """A handshake with a port."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as connection,
        (context or any_certificate()).wrap_socket(connection, server_hostname="localhost") as done,
    ):
        cipher, *_ = done.cipher() or ("",)
        return Shaken(done.getpeercert(True), done.version(), cipher, done.selected_alpn_protocol())


class TestWhatIsSpoken:
    @PORTS
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_tls_1_2_and_1_3_with_forward_secrecy(
        self, encrypted: Encrypted, port: int, version: ssl.TLSVersion
    ) -> None:
        context = any_certificate()
        context.minimum_version = context.maximum_version = version
        told = shaken(encrypted.ports[port], context)
        assert told.version == version.name.replace("_", ".")
        assert told.cipher.startswith(("ECDHE-", "TLS_"))
        assert "GCM" in told.cipher or "CHACHA20" in told.cipher

    @PORTS
    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
    def test_nothing_older(self, encrypted: Encrypted, port: int, version: ssl.TLSVersion) -> None:
        context = any_certificate()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shaken(encrypted.ports[port], context)

    @PORTS
    @pytest.mark.parametrize(
        "ciphers", ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE+AES+SHA1", "ECDHE+AESCCM", "DHE", "AES256-SHA256"]
    )
    def test_no_cipher_that_is_weak(self, encrypted: Encrypted, port: int, ciphers: str) -> None:
        context = any_certificate()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shaken(encrypted.ports[port], context)

    def test_http_2_where_the_client_wants_it_at_the_edge(self, encrypted: Encrypted) -> None:
        context = any_certificate()
        context.set_alpn_protocols(["h2", "http/1.1"])
        assert [shaken(port, context).protocol for port in encrypted.ports] == ["h2", "http/1.1"]

    @PORTS
    def test_nothing_in_plain(self, encrypted: Encrypted, port: int) -> None:
        with socket.create_connection(("127.0.0.1", encrypted.ports[port]), timeout=WITHIN_S) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                told = connection.recv(1000)
            except ConnectionError:
                told = b""
        assert b"HTTP/1.1 2" not in told

    @pytest.mark.parametrize("path", ["/health/live", "/api/status", "/nothing"])
    def test_browsers_are_told_to_come_back_encrypted(self, encrypted: Encrypted, path: str) -> None:
        answer = encrypted.server.http.get(encrypted.server.console + path)
        for name, value in (*STRICT_HEADERS.items(), HSTS):
            assert answer.headers.get_list(name) == [value]

    def test_the_copy_of_the_key_is_for_the_owner_alone(self, encrypted: Encrypted) -> None:
        kept = encrypted.server.data_dir / certificate.FILE_NAME
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600


class Clients:
    """They send one action after the other until told to stop, each over one connection or each time over a new one,
    and ask the console as well."""

    def __init__(self, encrypted: Encrypted) -> None:
        self._encrypted = encrypted
        self._stop = threading.Event()
        self.answered: list[int] = []
        self.failed: list[str] = []
        kinds = [(self._send, True), (self._send, False), (self._ask, True), (self._ask, False)]
        self._threads = [
            threading.Thread(target=self._run, args=(call, keeps)) for call, keeps in kinds for _ in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, call: Callable[[httpx.Client], int], keeps: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=None if keeps else 0)
        with httpx.Client(verify=any_certificate(), trust_env=False, timeout=WITHIN_S, limits=limits) as http:
            while not self._stop.is_set():
                try:
                    self.answered.append(call(http))
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                if not keeps:
                    self._stop.wait(0.02)  # handshakes are dear

    def _send(self, http: httpx.Client) -> int:
        url, headers = self._encrypted.server.ingest + "/v1/actions", self._encrypted.app.moesif_headers
        return http.post(url, json=ACTION, headers=headers).status_code

    def _ask(self, http: httpx.Client) -> int:
        headers = {"authorization": f"Bearer {TOKEN}"}
        self._stop.wait(0.02)
        return http.get(self._encrypted.server.console + "/api/tail", headers=headers).status_code


class TestAnotherCertificate:
    def test_another_certificate_is_served_and_no_request_fails(self, encrypted: Encrypted) -> None:
        clients = Clients(encrypted)
        try:
            for _ in range(2):
                fresh = encrypted.files.renew()
                until(lambda fresh=fresh: encrypted.served() == {fresh}, within_s=WITHIN_S)  # type: ignore[misc]
                before = len(clients.answered)
                until(lambda before=before: len(clients.answered) > before + 50, within_s=WITHIN_S)  # type: ignore[misc]
        finally:
            clients.stop()
        assert clients.failed == []
        assert set(clients.answered) == {200, 201}
        assert not encrypted.logged("Unexpected exit")
        sent = clients.answered.count(201)

        def stored() -> int:
            told = catchment("sql", "SELECT count() AS n FROM events", "--format", "json", data_dir=data_dir)
            return int(json.loads(told)[0]["n"])

        data_dir = encrypted.server.data_dir
        until(lambda: stored() == sent, within_s=WITHIN_S)

    def test_the_commands_of_this_machine_trust_it_at_once(self, encrypted: Encrypted) -> None:
        fresh = encrypted.files.renew()
        until(lambda: encrypted.served() == {fresh}, within_s=WITHIN_S)
        assert catchment("sql", "SELECT 1 AS a", "--format", "csv", data_dir=encrypted.server.data_dir) == "a\n1\n"

    def test_one_that_cannot_be_used_changes_nothing_and_is_told(self, encrypted: Encrypted) -> None:
        fresh = encrypted.renew()
        kept = (encrypted.server.data_dir / certificate.FILE_NAME).read_bytes()
        encrypted.files.cert.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        until(lambda: encrypted.logged("the certificate in use stays; mend the files"), within_s=WITHIN_S)
        assert encrypted.served() == {fresh}
        assert (encrypted.server.data_dir / certificate.FILE_NAME).read_bytes() == kept
        assert catchment("sql", "SELECT 1 AS a", "--format", "csv", data_dir=encrypted.server.data_dir) == "a\n1\n"
        mended = encrypted.files.renew()
        until(lambda: encrypted.served() == {mended}, within_s=WITHIN_S)

    def test_a_part_that_dies_meanwhile_comes_back_with_the_one_in_use(self, encrypted: Encrypted) -> None:
        fresh = encrypted.renew()
        encrypted.files.key.unlink()
        before = encrypted.server.parts("edge") + encrypted.server.parts("core")
        for pid in (encrypted.server.parts("edge")[0], encrypted.server.parts("core")[0]):
            os.kill(pid, signal.SIGKILL)

        def back() -> bool:
            parts = encrypted.server.parts("edge") + encrypted.server.parts("core")
            try:
                return len(parts) == len(before) and not set(parts) & set(before) and encrypted.served() == {fresh}
            except OSError:
                return False

        until(back, within_s=WITHIN_S)
        assert encrypted.app.moesif("/v1/actions", ACTION).status_code == 201
        encrypted.files.renew()


class TestUnusable:
    def test_where_its_copy_cannot_be_written_serving_does_not_start(self, tmp_path: Path) -> None:
        pem = self_signed(tmp_path / "a", "P-256")
        data_dir = tmp_path / "data"
        config.ensure_file(data_dir)
        (data_dir / certificate.FILE_NAME).mkdir()
        tls = ["--tls-cert", str(pem), "--tls-key", str(pem), "--port", "0", "--console-port", "0"]
        told = catchment("serve", *tls, data_dir=data_dir, code=1)
        assert "tls.pem cannot be written: " in told
        assert "Traceback" not in told

    def test_a_key_of_another_certificate(self, tmp_path: Path) -> None:
        cert, key = (self_signed(tmp_path / name, "P-256") for name in ("a", "b"))
        [fault] = certificate.faults(cert, key)
        assert fault.setting == "tls_cert"
        assert "whose key is tls_key" in fault.reason

    def test_files_that_are_not_there(self, tmp_path: Path) -> None:
        found = certificate.faults(tmp_path / "a", tmp_path / "b")
        assert [fault.setting for fault in found] == ["tls_cert", "tls_key"]

    def test_the_kinds_of_keys_that_one_of_the_ports_could_not_serve(self, tmp_path: Path) -> None:
        made = {kind: self_signed(tmp_path / kind, kind) for kind in ("rsa:2048", "P-256", "P-384", "P-521", "ed25519")}
        found = {kind: [fault.reason for fault in certificate.faults(pem, pem)] for kind, pem in made.items()}
        assert found.pop("P-521") == ["its key must be one of RSA, P-256, P-384 or Ed25519"]
        assert all(reasons == [] for reasons in found.values()), json.dumps(found)


def self_signed(file: Path, kind: str) -> Path:
    """A certificate with a key of that kind, and the key, in one file."""
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    if kind == "rsa:2048":
        key = rsa.generate_private_key(65537, 2048)
    elif kind == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}[kind])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1)).sign(
        key, None if kind == "ed25519" else hashes.SHA256()
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file

"""Certificates as the tools that renew them lay them down - behind links - and what goes on after a renewal."""

import errno
import os
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from catchment import certificate, config
from tests.conftest import Server, until
from tests.security.test_tls import shaken

WITHIN_S = 120.0
WORKERS = 2


def laid_down(ca: trustme.CA, cert: Path, key: Path) -> bytes:
    """A new pair in these files; the certificate's DER."""
    made = ca.issue_cert("127.0.0.1", "localhost")
    cert.parent.mkdir(exist_ok=True)
    made.cert_chain_pems[0].write_to_path(str(cert))
    made.private_key_pem.write_to_path(str(key))
    return ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())


def turned(link: Path, target: Path) -> None:
    """Makes the link, or makes it another one in a single step."""
    fresh = link.with_name(f"{link.name}.fresh")
    fresh.symlink_to(target)
    fresh.replace(link)


class Certbot:
    """`live/fullchain.pem` is a link to `archive/fullchain1.pem`; a renewal turns both links to a next number."""

    def __init__(self, folder: Path) -> None:
        self._ca, self._number, self._folder = trustme.CA(), 0, folder
        self._live = folder / "live"
        self._live.mkdir()
        self.cert, self.key = self._live / "fullchain.pem", self._live / "privkey.pem"

    def renew(self) -> bytes:
        self._number += 1
        names = [f"{file.stem}{self._number}.pem" for file in (self.cert, self.key)]
        made = laid_down(self._ca, *(self._folder / "archive" / name for name in names))
        for link, name in zip((self.cert, self.key), names, strict=True):
            turned(link, Path("..") / "archive" / name)
        return made


class Kubernetes:
    """A mounted secret: its files are links into `..data`, a link to a folder; an update turns that one link, and
    removes the folder before."""

    def __init__(self, folder: Path) -> None:
        self._ca, self._number, self._folder = trustme.CA(), 0, folder
        self.cert, self.key = folder / "tls.crt", folder / "tls.key"
        for link in (self.cert, self.key):
            link.symlink_to(Path("..data") / link.name)

    def renew(self) -> bytes:
        self._number += 1
        fresh = self._folder / f"..2026_{self._number}"
        made = laid_down(self._ca, fresh / self.cert.name, fresh / self.key.name)
        turned(self._folder / "..data", Path(fresh.name))
        if self._number > 1:
            before = self._folder / f"..2026_{self._number - 1}"
            for file in before.iterdir():
                file.unlink()
            before.rmdir()
        return made


def served(server: Server) -> set[bytes | None]:
    ports = [httpx.URL(url).port or 0 for url in (server.ingest, server.console)]
    try:
        return {shaken(port).certificate for port in ports for _ in range(6)}
    except OSError:
        return set()  # a handshake met a process that was just leaving


class Renewed:
    """A server whose certificate lies where certbot puts it."""

    def __init__(self, folder: Path) -> None:
        self.files, self._output = Certbot(folder), folder
        self.files.renew()
        tls = ["--tls-cert", str(self.files.cert), "--tls-key", str(self.files.key)]
        self.server = Server(folder / "data", "--workers", str(WORKERS), *tls, output=folder)

    def renew(self) -> None:
        """Another certificate, until it is served and nobody has the one before."""
        fresh = self.files.renew()
        until(lambda: served(self.server) == {fresh}, within_s=WITHIN_S)
        until(lambda: len(self.server.parts("edge")) == 1 + WORKERS, within_s=WITHIN_S)

    def logged(self, words: str) -> int:
        return (self._output / "stderr").read_text().count(words)


@pytest.fixture(scope="module")
def renewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renewed]:
    running = Renewed(tmp_path_factory.mktemp("renewed"))
    yield running
    assert running.server.stop(check_books=False) == 0


def test_a_link_that_is_turned_to_another_certificate_is_a_renewal(renewed: Renewed) -> None:
    renewed.renew()


def test_after_a_renewal_changes_of_the_settings_are_kept_and_told_as_before(renewed: Renewed) -> None:
    file, kept = (renewed.server.data_dir / name for name in (config.FILE_NAME, config.SOUND_NAME))
    sound = file.read_text()
    for times in (1, 2):
        renewed.renew()
        file.write_text(f"{sound}\n# change {times}\n")
        until(lambda times=times: f"# change {times}" in kept.read_text(), within_s=WITHIN_S)  # type: ignore[misc]
        until(lambda times=times: renewed.logged("edge: took ") == times, within_s=WITHIN_S)  # type: ignore[misc]
        file.write_text(f"{sound}\n[[[ {times}\n")
        until(lambda times=times: renewed.logged("the settings in use stay") == times, within_s=WITHIN_S)  # type: ignore[misc]


def test_a_secret_of_kubernetes_that_is_updated_is_a_renewal(tmp_path: Path) -> None:
    folder = tmp_path / "secret"
    folder.mkdir()
    files = Kubernetes(folder)
    first = files.renew()
    given = {"CATCHMENT_INGEST__TLS_CERT": str(files.cert), "CATCHMENT_INGEST__TLS_KEY": str(files.key)}
    server = Server(tmp_path / "data", "--workers", "1", environment=given)
    try:
        assert served(server) == {first}
        fresh = files.renew()
        until(lambda: served(server) == {fresh}, within_s=WITHIN_S)
    finally:
        assert server.stop(check_books=False) == 0


def test_a_renewal_that_the_disk_does_not_take_is_tried_again_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "pair").mkdir()
    files, kept = Certbot(tmp_path / "pair"), tmp_path / certificate.FILE_NAME
    files.renew()
    watched = certificate.Certificate(files.cert, files.key, kept)
    watched.take()
    before = kept.read_bytes()
    watched.look()

    def full(*_: object, **__: object) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for _ in range(2):  # each shortage is told
        files.renew()
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "mkstemp", full)
            for _ in range(5):
                watched.look()
        assert kept.read_bytes() == before
        [told] = caplog.messages
        assert str(kept) in told
        assert "No space left on device" in told
        caplog.clear()
        watched.look()
        assert kept.read_bytes() != before
        before = kept.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", full)
        watched.look()  # nothing is left to be taken
    assert kept.read_bytes() == before
    assert caplog.messages == []

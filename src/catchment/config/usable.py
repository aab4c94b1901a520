"""What is well formed but names nothing that can be used: networks, certificates, databases."""

import ipaddress
from pathlib import Path
from typing import Any

import maxminddb

from catchment import certificate
from catchment.config.mistakes import show


def unusable(tree: dict[str, Any], *, with_files: bool) -> list[str]:
    """A line for each; `with_files` also looks into the files that are named."""
    problems: list[str] = []
    ingest = tree.get("ingest")
    if isinstance(ingest, dict):
        problems += _unusable_proxies(ingest)
        problems += _unusable_certificate(ingest) if with_files else []
    return problems + (_unusable_database(tree) if with_files else [])


def _unusable_proxies(ingest: dict[str, Any]) -> list[str]:
    proxies = ingest.get("trusted_proxies")
    return [
        f"ingest.trusted_proxies.{index}: found {show(text)}; it must be an IP address or a network, like 10.0.0.0/8"
        for index, text in enumerate(proxies if isinstance(proxies, list) else ())
        if isinstance(text, str) and not _is_network(text)
    ]


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _unusable_certificate(ingest: dict[str, Any]) -> list[str]:
    given = {"tls_cert": ingest.get("tls_cert"), "tls_key": ingest.get("tls_key")}
    cert, key = given.values()
    if not (cert and key and isinstance(cert, str) and isinstance(key, str)):
        return []
    return [
        f"ingest.{fault.setting}: found {show(given[fault.setting])}; {fault.reason}"
        for fault in certificate.faults(Path(cert), Path(key))
    ]


def _unusable_database(tree: dict[str, Any]) -> list[str]:
    geo = tree.get("geo")
    file = geo.get("database") if isinstance(geo, dict) else None
    if not isinstance(file, str):
        return []
    try:
        maxminddb.open_database(file).close()
    except OSError as error:
        return [f"geo.database: found {show(file)}; it cannot be read: {error.strerror}"]
    except (maxminddb.InvalidDatabaseError, ValueError):
        return [f"geo.database: found {show(file)}; it must be a database in MaxMind's format, .mmdb"]
    return []

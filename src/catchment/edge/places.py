"""Where an IP address is, by a database file of the user's own in MaxMind's format.

The file is mapped into memory, which all edge processes share. It is opened once: a newer one is taken at the next
start, and must be moved into its place, not written over the one that is in use.
"""

import ipaddress
import logging
from collections.abc import Callable
from typing import Any

import maxminddb

from catchment.record import Place
from catchment.settings import Geo

PlaceFinder = Callable[[str], Place | None]

logger = logging.getLogger(__name__)


def place_finder(settings: Geo) -> PlaceFinder | None:
    """A function from an address to its place, or None for what is no address or not in the database.

    Without a database there is none. One that cannot be opened costs the places, never an event: `serve` and
    `config check` have looked at it, so it went since.
    """
    if settings.database is None:
        return None
    try:
        reader = maxminddb.open_database(settings.database)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        logger.error("edge: geo.database cannot be opened; addresses get no place until the next start: %s", error)
        return None

    def find(text: str) -> Place | None:
        try:
            found = reader.get(_address(text))
        except (ValueError, maxminddb.InvalidDatabaseError):  # no address, IPv6 in a database of IPv4, or damage
            return None
        return _place(found) if isinstance(found, dict) else None

    return find


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address; an IPv4 one that came over an IPv6 socket (`::ffff:192.0.2.7`) as what it is."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _place(found: dict[str, Any]) -> Place | None:
    """What a record of a City or Country database says (https://dev.maxmind.com/geoip/docs/databases/city-and-country),
    or None where that is nothing; anything of another form counts as not said."""
    subdivisions = found.get("subdivisions")
    region = _table(subdivisions[0] if isinstance(subdivisions, list) and subdivisions else None)
    location = _table(found.get("location"))
    place = Place(
        country=_text(_table(found.get("country")).get("iso_code")),
        region=_text(_table(region.get("names")).get("en")) or _text(region.get("iso_code")),
        city=_text(_table(_table(found.get("city")).get("names")).get("en")),
        latitude=_degrees(location.get("latitude")),
        longitude=_degrees(location.get("longitude")),
    )
    return place if place != Place() else None


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _degrees(value: Any) -> float | None:
    return float(value) if isinstance(value, (float, int)) and -180 <= value <= 180 else None

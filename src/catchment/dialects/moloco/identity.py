"""Who did it (contracts/moloco.md 4.1): which identifiers there are, and which of them counts."""

from typing import NamedTuple

from catchment.dialects.moloco.protobuf import Message


class Identifiers(NamedTuple):
    """The user's, the device's and the one that stands in for both, a legacy one where there is no other; `first` is
    the one that counts, or None where there is none."""

    user_id: str | None
    device_id: str | None
    anonymous_id: str | None
    first: str | None


def identifiers_of(event: Message) -> Identifiers:
    """Legacy identifiers come last (contract 6.7). An all-zero advertising id is what a device gives for "none"."""
    device = event.get("device") or {}
    user_id, custom_id, session_id = event.get("user_id"), event.get("custom_id"), event.get("session_id")
    persistent_id, legacy_id = device.get("persistent_id"), device.get("unique_device_id")
    advertising_id = device.get("advertising_id")
    if advertising_id and not advertising_id.strip("0-"):
        advertising_id = None
    return Identifiers(
        user_id,
        persistent_id or legacy_id or advertising_id,
        custom_id or session_id,
        user_id or persistent_id or custom_id or legacy_id or advertising_id or session_id,
    )

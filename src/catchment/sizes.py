"""Bytes as a person reads them, the same everywhere: in powers of ten, as disks are sold and `df -H` shows them."""


def size_text(size: int) -> str:
    """`64.0 MB`."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"

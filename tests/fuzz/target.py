"""What a target is, and its corpus: a file of JSON lines, each a text of which every character is one byte.

An input is kept for what it reaches, not for what it says, so the corpus holds no more than the inputs that together
reach every line and branch that the fuzzer has found (`minimise`).
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

CORPUS = Path(__file__).parent / "corpus"
ONE_BYTE_A_CHARACTER = "latin-1"


class Broken(AssertionError):
    """Something does not hold; the text says what."""


class Target(NamedTuple):
    """`run` takes any bytes, and raises whatever where something is wrong; `seeds` are inputs that go far."""

    name: str
    run: Callable[[bytes], None]
    seeds: list[bytes]
    bytes_max: int = 4096


def require(holds: bool, what: str) -> None:
    """Raises `Broken`. Not `assert`, which `python -O` leaves out."""
    if not holds:
        raise Broken(what)


def corpus_of(name: str, folder: Path | None = None) -> list[bytes]:
    """The kept inputs of a target; none where it has no file."""
    return _read((folder or CORPUS) / f"{name}.jsonl")


def finds_of(name: str, folder: Path | None = None) -> list[bytes]:
    """The inputs that failed once; they stay, whatever they reach."""
    return _read((folder or CORPUS) / f"{name}.finds.jsonl")


def keep_corpus(name: str, inputs: Iterable[bytes], folder: Path | None = None) -> None:
    """Writes the file of the kept inputs anew, short ones first."""
    _write((folder or CORPUS) / f"{name}.jsonl", inputs)


def keep_finds(name: str, inputs: Iterable[bytes], folder: Path | None = None) -> None:
    """The same for those that failed once; without any there is no file."""
    if inputs := list(inputs):
        _write((folder or CORPUS) / f"{name}.finds.jsonl", inputs)


def _read(path: Path) -> list[bytes]:
    lines = path.read_text("ascii").splitlines() if path.exists() else []
    return [json.loads(line).encode(ONE_BYTE_A_CHARACTER) for line in lines]


def _write(path: Path, inputs: Iterable[bytes]) -> None:
    texts = sorted(set(inputs), key=lambda text: (len(text), text))
    path.write_text("".join(json.dumps(text.decode(ONE_BYTE_A_CHARACTER)) + "\n" for text in texts), "ascii")

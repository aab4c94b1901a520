"""Fuzzes one target, or each in turn: `python -m tests.fuzz [TARGET ...] [--minutes N] [--keep]` (docs/fuzzing.md).

With atheris inputs are guided by what they reach; without it Hypothesis makes them, which the output says. What was
reached and what failed is left in `.fuzz/`; `--keep` takes of it what the corpus has not, after everything was mended.
It exits with 1 where a target failed.
"""

import argparse
import importlib.util
import json
import logging
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path

from tests.fuzz import unguided
from tests.fuzz.minimise import minimised
from tests.fuzz.target import Target, corpus_of, finds_of, keep_corpus, keep_finds
from tests.fuzz.targets import TARGETS

FOUND = Path(".fuzz")
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None
HANGS_AFTER_S, MEMORY_MB_MAX = 20, 2048
_RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_NOISE = re.compile(r"^(INFO:|#\d+|stat::|MS: |0x|artifact_prefix)")
_TAIL_LINES = 25
_WORD = re.compile(rb'"[A-Za-z_]\w*"|[A-Za-z_][\w.-]{2,}')
_WORDS_MAX = 400


def main(arguments: list[str] | None = None) -> int:
    """Runs what the command line says; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz Catchment; docs/fuzzing.md.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all of them, or some: {' '.join(TARGETS)}")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target; 1 unless told")
    parser.add_argument("--keep", action="store_true", help="only take what earlier runs found into the corpus")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(unknown))}; choose from {', '.join(TARGETS)}")
    logging.disable()
    FOUND.mkdir(exist_ok=True)
    chosen = [TARGETS[name] for name in asked.targets or TARGETS]
    if asked.keep:
        return max(_keep(target) for target in chosen)
    if not HAS_ATHERIS:
        print("atheris is not installed here: Hypothesis makes the inputs, without seeing what they reach")
    run = _guided if HAS_ATHERIS else _unguided
    return max(run(target, asked.minutes * 60) for target in chosen)


def _known(target: Target) -> list[bytes]:
    return [*target.seeds, *corpus_of(target.name), *finds_of(target.name)]


def _guided(target: Target, seconds: float) -> int:
    found, log = FOUND / target.name, FOUND / f"{target.name}.log"
    found.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        seeds, words = Path(folder) / "seeds", Path(folder) / "words"
        seeds.mkdir()
        for number, data in enumerate(_known(target)):
            (seeds / f"{number}").write_bytes(data)
        options = [f"-max_total_time={max(1, round(seconds))}", f"-timeout={HANGS_AFTER_S}"]
        if dictionary := _dictionary(target.seeds):
            words.write_text(dictionary, "ascii")
            options.append(f"-dict={words}")
        options += [f"-rss_limit_mb={MEMORY_MB_MAX}", f"-artifact_prefix={found}.", "-print_final_stats=1"]
        command = [sys.executable, "-m", "tests.fuzz.guided", target.name, str(found), str(seeds), *options]
        with log.open("wb") as file:
            code = subprocess.run(command, stdout=file, stderr=file, check=False).returncode
    text = log.read_text("utf-8", "replace")
    runs = _RUNS.search(text)
    print(f"{target.name}: {runs[1] if runs else 'an unknown number of'} inputs, {'FAILED' if code else 'all fine'}")
    if code:
        print("\n".join([line for line in text.splitlines() if not _NOISE.match(line)][-_TAIL_LINES:]))
        print(f"the input is in {found}.*, the whole output in {log}")
    return int(code != 0)


def _unguided(target: Target, seconds: float) -> int:
    outcome = unguided.fuzz(target, _known(target), seconds)
    if isinstance(outcome, int):
        print(f"{target.name}: {outcome} inputs, all fine")
        return 0
    path = FOUND / f"{target.name}.crash-hypothesis"
    path.write_bytes(outcome.data)
    print(f"{target.name}: FAILED")
    traceback.print_exception(outcome.error)
    print(f"the input is in {path}")
    return 1


def _keep(target: Target) -> int:
    """Takes over what earlier runs found, unless an input still fails."""
    failed = {path: path.read_bytes() for path in FOUND.glob(f"{target.name}.*-*")}
    for path, data in failed.items():
        try:
            target.run(data)
        except Exception as error:
            print(f"{target.name}: {path} still fails: {error!r}")
            return 1
    keep_finds(target.name, [*finds_of(target.name), *failed.values()])
    reached = [path.read_bytes() for path in (FOUND / target.name).glob("*")]
    corpus = minimised(target, [*corpus_of(target.name), *reached])
    keep_corpus(target.name, corpus)
    print(f"{target.name}: {len(corpus)} inputs with {sum(map(len, corpus))} bytes kept, of {len(reached)} found")
    return 0


def _dictionary(seeds: Iterable[bytes]) -> str:
    """The words of the seeds, for libFuzzer to put in anywhere."""
    words = {word: None for seed in seeds for word in _WORD.findall(seed)}
    return "".join(json.dumps(word.decode("ascii")) + "\n" for word in list(words)[:_WORDS_MAX])


if __name__ == "__main__":
    sys.exit(main())

"""The fuzzer's corpus in every test run, what the fuzzer found, and that the fuzzer finds what there is to find."""

import asyncio
import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from catchment.config import mistakes
from catchment.dialects.batch import dialect as batch
from catchment.edge import body
from catchment.edge.gate import Gate
from catchment.log import findings, reader, segment
from catchment.settings import Ingest
from catchment.store import guard
from tests.fuzz import __main__ as command
from tests.fuzz import bodies, calls, logs, target, unguided
from tests.fuzz.minimise import minimised, steps_of
from tests.fuzz.target import CORPUS, Broken, Target, corpus_of, finds_of, keep_corpus, keep_finds, require
from tests.fuzz.targets import TARGETS

CORPUS_BYTES_MAX = 400_000


@pytest.mark.parametrize("of", TARGETS.values(), ids=lambda of: of.name)
def test_every_input_of_the_corpus_is_taken_as_it_should_be(of: Target) -> None:
    kept = corpus_of(of.name)
    assert kept, "make fuzz, and python -m tests.fuzz --keep"
    for data in (*of.seeds, *kept, *finds_of(of.name)):
        of.run(data)


def test_the_corpus_is_small_and_has_a_target_for_each_file() -> None:
    files = list(CORPUS.iterdir())
    assert {path.name.split(".")[0] for path in files} == set(TARGETS)
    assert sum(path.stat().st_size for path in files) < CORPUS_BYTES_MAX


class TestATargetFails:
    """With a fault planted in what it looks at."""

    def fails(self, name: str) -> None:
        with pytest.raises(Exception) as caught:  # noqa: PT011, PT012
            for data in (*TARGETS[name].seeds, *corpus_of(name)):
                TARGETS[name].run(data)
        assert not isinstance(caught.value, OSError)

    def test_where_a_line_break_of_a_body_stays_in_its_record(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(batch, "one_line", lambda text: text)
        self.fails("batch")

    def test_where_a_dialect_does_not_expect_a_fault_of_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(batch, "require_utf8", lambda text: text.decode("ascii"))
        self.fails("batch")

    def test_where_a_credential_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for speakers in calls.SPEAKERS:
            monkeypatch.setattr(speakers["moesif"], "conceal", bytes)
        self.fails("rejections")

    def test_where_a_token_is_stored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("catchment.dialects.moesif.credentials.Credentials.payload", lambda self, raw: raw)
        self.fails("credentials")

    def test_where_a_function_that_is_refused_may_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(guard, "_check_function", lambda name: None)
        self.fails("queries")

    def test_where_a_key_in_a_path_is_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(batch.Batch, "conceal_path", lambda self, path: path)
        self.fails("routing")

    def test_where_decompression_has_no_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        inflate = body._inflate
        monkeypatch.setattr(body, "_inflate", lambda text, bytes_max: inflate(text, 1 << 20))
        self.fails("bodies")

    def test_where_a_checksum_is_not_looked_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(segment, "zlib", SimpleNamespace(crc32=lambda *given: 0))
        with pytest.raises(Broken):
            logs.scanned(b'{"app":"a"}\n{"commit":{"bytes":12,"crc32":0}}\n')

    def test_where_the_reader_steps_over_a_sound_group(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reader, "holds_records", lambda lines: b'"group":1,' not in lines)
        self.fails("recovery")

    def test_where_a_damaged_segment_is_removed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(findings, "DAMAGE_ENDING", ".note")
        monkeypatch.setattr(findings.Findings, "damage", lambda *given: None)
        self.fails("recovery")

    def test_where_a_mistake_of_the_settings_tells_a_secret(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mistakes, "SECRETS", frozenset())
        self.fails("settings")


@pytest.mark.parametrize("declared", ["9" * 5000, "9" * 21, "-1", "\u00b2", "1, 2"])
def test_a_content_length_that_is_no_number_of_bytes_is_too_large(declared: str) -> None:
    with pytest.raises(body.TooLarge):
        asyncio.run(body.read_body(bodies.Sent(b"x", 1), {"content-length": declared}, 100, Gate(Ingest()).enter()))


def _planted(data: bytes) -> None:
    require(b"[[" not in data, "two brackets")


def test_without_atheris_a_fault_is_found_and_made_small() -> None:
    found = unguided.fuzz(Target("planted", _planted, []), [b'{"a":[1,2]}'], seconds=60)
    assert isinstance(found, unguided.Find)
    assert found.data == b"[["


def test_without_a_fault_the_inputs_are_counted_until_the_time_is_over() -> None:
    runs = unguided.fuzz(Target("planted", lambda data: None, []), [b"{}"], seconds=0)
    assert isinstance(runs, int)
    assert runs > 100


class TestARunWithoutAtheris:
    @pytest.fixture(autouse=True)
    def _somewhere_else(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(command, "HAS_ATHERIS", False)
        for name in list(TARGETS):
            monkeypatch.delitem(TARGETS, name)
        monkeypatch.setitem(TARGETS, "planted", Target("planted", _planted, [b"[]"]))
        monkeypatch.setattr(logging, "disable", lambda: None)

    def test_says_so_and_how_many_inputs_were_fine(self, capsys: pytest.CaptureFixture[str]) -> None:
        TARGETS["planted"] = Target("planted", lambda data: None, [b"[]"])
        assert command.main(["planted", "--minutes", "0"]) == 0
        told = capsys.readouterr().out.splitlines()
        assert told[0].startswith("atheris is not installed here")
        assert re.fullmatch(r"planted: \d+ inputs, all fine", told[1])

    def test_leaves_the_input_of_a_failure_which_is_kept_once_that_is_mended(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(target, "CORPUS", tmp_path)
        assert command.main(["--minutes", "1"]) == 1
        [left] = Path(".fuzz").glob("planted.crash-*")
        assert left.read_bytes() == b"[["
        assert command.main(["--keep"]) == 1
        assert "still fails" in capsys.readouterr().out
        TARGETS["planted"] = Target("planted", lambda data: None, [b"[]"])
        assert command.main(["--keep"]) == 0
        assert finds_of("planted", tmp_path) == [b"[["]


def test_the_corpus_is_written_as_it_is_read(tmp_path: Path) -> None:
    inputs = [bytes(range(256)), b"", b"\n\xff"]
    keep_corpus("some", inputs, tmp_path)
    keep_finds("some", [], tmp_path)
    assert corpus_of("some", tmp_path) == sorted(inputs, key=len)
    assert finds_of("some", tmp_path) == []
    assert all(isinstance(json.loads(line), str) for line in (tmp_path / "some.jsonl").read_text().splitlines())


def _scanned(data: bytes) -> None:
    segment.scan(data)


def test_of_inputs_that_reach_the_same_the_shortest_is_kept() -> None:
    scanning = Target("scan", _scanned, [])
    longer, shorter = b"x" * 9 + segment.group(b"{}\n"), b"x" + segment.group(b"{}\n")
    assert steps_of(scanning, longer) == steps_of(scanning, shorter) > steps_of(scanning, b"")
    assert minimised(scanning, [longer, shorter]) == [shorter]

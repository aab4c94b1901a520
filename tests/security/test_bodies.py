"""Bodies that are meant to hurt: compressed without measure, nested, with numbers, texts and names as nobody has them.

`target` has to answer as before after each test, and to have logged no traceback and no secret in the end.
"""

import gzip
import time
import zlib

import pytest

from tests.security.conftest import ACTION, Target

DEEP = 100_000
LONG_S = 10.0


class TestCompression:
    def post(self, target: Target, body: bytes, encoding: str, path: str = "/v1/actions/batch") -> int:
        headers = target.app.moesif_headers | {"content-encoding": encoding}
        return target.app.post(path, body, headers).status_code

    def test_a_bomb_is_refused_at_the_limit_and_not_behind_it(self, target: Target) -> None:
        bomb = gzip.compress(b"[" + b" " * 200_000_000 + b"]", 9)
        assert len(bomb) < 250_000
        assert self.post(target, bomb, "gzip") == 413  # and not too late: its client waits for 30 s
        assert self.post(target, zlib.compress(b" " * 100_000_000, 9), "deflate") == 413

    def test_a_bomb_within_a_bomb_is_too(self, target: Target) -> None:
        twice = gzip.compress(gzip.compress(b" " * 200_000_000, 9), 9)
        assert self.post(target, twice, "gzip, gzip") == 413
        assert self.post(target, gzip.compress(twice, 9), "gzip, gzip, gzip") == 400

    def test_many_members_are_refused(self, target: Target) -> None:
        assert self.post(target, gzip.compress(b"") * 10_000, "gzip") == 400
        assert self.post(target, gzip.compress(b" " * 1_000_000) * 16, "gzip") == 413

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"\x1f\x8b", id="its first two bytes"),
            pytest.param(gzip.compress(ACTION)[:-9], id="cut off"),
            pytest.param(b"\x1f\x8b\x08" + b"\xff" * 40, id="a header and noise"),
        ],
    )
    def test_what_is_no_gzip_is_told_so(self, target: Target, body: bytes) -> None:
        assert self.post(target, body, "gzip", "/v1/actions") == 400


ENDPOINTS = ["moesif", "moesif batch", "users", "batch", "batch bulk", "moloco", "segment", "sql"]


class TestJson:
    """Each of the ways in, with JSON that is legal or nearly so, and meant to hurt."""

    def post(self, target: Target, endpoint: str, body: bytes) -> tuple[int, float]:
        """The status, and the seconds that it took."""
        app, keys = target.app, target.app.keys
        moloco = app.moloco_headers | {"x-platform-id": keys["moloco"]["platform"]}
        where = {
            "moesif": ("/v1/actions", app.moesif_headers),
            "moesif batch": ("/v1/actions/batch", app.moesif_headers),
            "users": ("/v1/users", app.moesif_headers),
            "batch": (app.batch_path + "/u", app.batch_headers),
            "batch bulk": (app.batch_path, app.batch_headers),
            "moloco": (app.moloco_path, moloco),
            "segment": ("/cdp/SEGMENT", moloco),
        }
        begun = time.monotonic()
        if endpoint == "sql":
            status = target.server.api.post("/api/sql", content=body).status_code
        else:
            path, headers = where[endpoint]
            status = app.post(path, body, headers).status_code
        return status, time.monotonic() - begun

    def holding(self, endpoint: str, value: bytes) -> bytes:
        """A body that is sound but for this value in a place for free-form ones."""
        around = {
            "moesif": b'{"action_name":"A","user_id":"u","request":{"uri":"https://x/y"},"metadata":{"v":@}}',
            "moesif batch": b'[{"action_name":"A","user_id":"u","request":{"uri":"https://x/y"},"metadata":{"v":@}}]',
            "users": b'{"user_id":"u","metadata":{"v":@}}',
            "batch": b'{"events":[{"name":"ue.a","attributes":{"v":@}}]}',
            "batch bulk": b'[{"id":"u","events":[{"name":"ue.a","attributes":{"v":@}}]}]',
            "moloco": b'{"event_type":"HOME","channel_type":"SITE","timestamp":"1617870506121","user_id":"1","v":@}',
            "segment": b'{"event_type":"HOME","channel_type":"SITE","timestamp":"1617870506121","user_id":"1","v":@}',
            "sql": b'{"query":"SELECT {v:String}","parameters":{"v":@}}',
        }
        return around[endpoint].replace(b"@", value)

    @pytest.mark.parametrize("endpoint", ENDPOINTS)
    @pytest.mark.parametrize(
        "value", [b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP]
    )
    def test_what_is_nested_deeply_is_refused(self, target: Target, endpoint: str, value: bytes) -> None:
        for body in (value, self.holding(endpoint, value)):
            status, _ = self.post(target, endpoint, body)
            assert status == 400

    @pytest.mark.parametrize("endpoint", ENDPOINTS)
    @pytest.mark.parametrize(
        "value",
        [
            *(
                b"1e400",
                b"-1e400",
                b"1" * 400,
                b"-" + b"9" * 400,
                b"1e-999999999",
                b"1E+999999999",
                b"0." + b"1" * 10_000,
            ),
            *(b"1" * 100_000, b"-0", b"18446744073709551616", b"NaN", b"Infinity", b"0x10", b"01", b"1_0"),
        ],
    )
    def test_no_number_is_a_fault_of_ours_or_takes_long(self, target: Target, endpoint: str, value: bytes) -> None:
        body = self.holding(endpoint, value)
        status, took_s = self.post(target, endpoint, body)
        assert status in (200, 201, 400)
        if took_s > LONG_S:  # that may have been the machine
            _, took_s = self.post(target, endpoint, body)
        assert took_s < LONG_S

    @pytest.mark.parametrize("endpoint", ENDPOINTS)
    @pytest.mark.parametrize(
        "value",
        [
            *(rb'"\ud800"', rb'"\udfff\ud800"', rb'{"\ud800":1}', b'"\xed\xa0\x80"', b'"\xff"', b'"\xc0\x80"'),
            *(rb'"\u0000"', b'"\x00"', b'"\xf4\x90\x80\x80"', rb'"\uZZZZ"', b'"' + b"\xf0\x9f\x92\xa9" * 1000 + b'"'),
        ],
    )
    def test_no_text_is_a_fault_of_ours(self, target: Target, endpoint: str, value: bytes) -> None:
        status, _ = self.post(target, endpoint, self.holding(endpoint, value))
        assert status in (200, 201, 400)

    @pytest.mark.parametrize("endpoint", ENDPOINTS)
    def test_a_member_given_twice_is_no_fault_of_ours(self, target: Target, endpoint: str) -> None:
        for value in (b'{"a":1,"a":2}', b'{"a":{"b":1},"a.b":2}', b"{" + b'"k":1,' * 5000 + b'"k":2}'):
            status, _ = self.post(target, endpoint, self.holding(endpoint, value))
            assert status in (200, 201, 400)

    @pytest.mark.parametrize("endpoint", ["moesif", "users", "batch", "moloco", "sql"])
    def test_the_time_of_keys_that_might_collide_grows_no_faster_than_they_do(
        self, target: Target, endpoint: str
    ) -> None:
        def members(kind: str, count: int) -> bytes:
            name = {"numbers": "{}", "multiples": "{}", "zeros": "{}", "alike": "k{:09}"}[kind]
            step = {"numbers": 1, "multiples": 2**61 - 1, "zeros": 2**32, "alike": 1}[kind]
            return b"{" + b",".join(b'"%s":1' % name.format(index * step).encode() for index in range(count)) + b"}"

        def seconds(body: bytes) -> float:
            return min(self.post(target, endpoint, body)[1] for _ in range(3))

        for kind in ("numbers", "multiples", "zeros", "alike"):
            few, many = (seconds(self.holding(endpoint, members(kind, count))) for count in (2_000, 16_000))
            assert many < 8 * few * 4 + 1  # were it quadratic, it would be 64 times as long

    def test_a_batch_of_nothing_but_elements_is_refused(self, target: Target) -> None:
        assert self.post(target, "moesif batch", b"[" + b"{}," * 60_000 + b"{}]")[0] == 413
        assert self.post(target, "batch bulk", b"[" + b"{}," * 60_000 + b"{}]")[0] == 400

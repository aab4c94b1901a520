"""The vendors' keys: how the edge finds what one leads to."""

import pytest

from catchment.keyring import Keyring


class TestKeyring:
    def test_a_text_leads_to_its_value_and_no_other_text_does(self) -> None:
        ring = Keyring([("a", 1), ("ab", 2), ("é", 3), ("a", 4)])
        assert [ring.find(text) for text in ("a", "ab", "é")] == [4, 2, 3]
        assert [ring.find(text) for text in ("", "A", "abc", "b", "e\u0301", "\ud800", "a\0")] == [None] * 7

    def test_it_holds_no_key_that_a_sender_s_text_could_be_compared_with(self) -> None:
        ring = Keyring([("key-0123456789", "value")])
        assert "key-0123456789" not in repr(vars(ring))
        assert b"key-0123456789" not in b"".join(ring._found)

    @pytest.mark.parametrize("text", ["key-0123456789", ""])
    def test_each_ring_has_digests_of_its_own(self, text: str) -> None:
        first, second = (Keyring([(text, 1)]) for _ in range(2))
        assert set(first._found).isdisjoint(second._found)

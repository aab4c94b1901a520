"""The secrets that open the console's port, and what is kept of them: a hash, never the secret itself.

A token is 256 bits from the system's randomness. Nobody can go through that many guesses, so SHA-256 is enough, and a
slow hash would only cost time at every request; slow hashes are for passwords, which people choose and which can be
guessed. A token that a person gives instead has to be long for the same reason (`CHARS_MIN`).
"""

import hashlib
import secrets

CHARS_MIN, CHARS_MAX = 32, 512
_BYTES = 32


def new_token() -> str:
    """A token of 256 random bits, in characters that a shell and a header take as they are."""
    return "console-" + secrets.token_urlsafe(_BYTES)


def token_hash(token: str) -> str:
    """What is kept of a token: 64 hexadecimal digits. Any text has one, also what somebody sends as a token."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()

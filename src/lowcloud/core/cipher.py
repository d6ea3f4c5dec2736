"""Texts that only this server may read: AES-256-GCM under a key of its secret, one for each purpose."""

import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "lc1_"  # the form, so that another one can follow
NONCE_BYTES = 12


class Cipher:
    """Seals and opens texts. ``secret`` is the server's; what is sealed for one ``purpose`` opens for no other."""

    def __init__(self, secret: str, purpose: str) -> None:
        self._cipher = AESGCM(hashlib.sha256(f"lowcloud {purpose} {secret}".encode()).digest())

    def seal(self, text: str, owner: str) -> str:
        """The text, for this ``owner`` alone."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, text.encode(), owner.encode())
        return PREFIX + urlsafe_b64encode(sealed).decode()

    def open(self, sealed: str, owner: str) -> str:
        """The text. Raises ValueError for what wasn't sealed here for the owner, or was changed since."""
        raw = urlsafe_b64decode(sealed.removeprefix(PREFIX)) if sealed.startswith(PREFIX) else b""
        try:
            return self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], owner.encode()).decode()
        except InvalidTag:
            raise ValueError("not sealed by this server for this owner, or changed since") from None

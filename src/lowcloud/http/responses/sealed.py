"""What a client carries for us and can't read or change: reasoning and summaries, encrypted and authenticated.

AES-256-GCM under a key of the server's secret. The account is authenticated with it, so nobody opens another's.
"""

import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lowcloud.core.errors import BadRequest

PREFIX = "lc1_"  # the form, so that another one can follow
NONCE_BYTES = 12


class Sealer:
    """Seals and opens texts. ``secret`` is the server's."""

    def __init__(self, secret: str) -> None:
        self._cipher = AESGCM(hashlib.sha256(b"lowcloud responses " + secret.encode()).digest())

    def seal(self, text: str, account_id: str) -> str:
        """The text for one account's eyes, which are ours alone."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, text.encode(), account_id.encode())
        return PREFIX + urlsafe_b64encode(sealed).decode()

    def open(self, sealed: str, account_id: str, path: str) -> str:
        """The text. Raises BadRequest with the path for what this server didn't seal for the account."""
        try:
            raw = urlsafe_b64decode(sealed.removeprefix(PREFIX)) if sealed.startswith(PREFIX) else b""
            return self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], account_id.encode()).decode()
        except (ValueError, InvalidTag):
            why = "it was not encrypted by this server for this account, or was changed since"
            raise BadRequest(f"{path}: can't be decrypted: {why}.", param=path) from None

    def opened(self, items: Sequence[Mapping[str, object]], account_id: str, path: str = "input") -> dict[str, str]:
        """The texts of the items that have encrypted content, by the items' ids. Raises BadRequest."""
        return {
            str(item["id"]): self.open(content, account_id, f"{path}[{place}].encrypted_content")
            for place, item in enumerate(items)
            if isinstance(content := item.get("encrypted_content"), str)
        }

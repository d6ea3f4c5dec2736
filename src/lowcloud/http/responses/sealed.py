"""What a client carries for us and can't read or change: reasoning and summaries, encrypted and authenticated.

The account is authenticated with it, so nobody opens another's.
"""

from collections.abc import Mapping, Sequence

from lowcloud.core.cipher import Cipher
from lowcloud.core.errors import BadRequest


class Sealer:
    """Seals and opens texts. ``secret`` is the server's."""

    def __init__(self, secret: str) -> None:
        self._cipher = Cipher(secret, "responses")

    def seal(self, text: str, account_id: str) -> str:
        """The text for one account's eyes, which are ours alone."""
        return self._cipher.seal(text, account_id)

    def open(self, sealed: str, account_id: str, path: str) -> str:
        """The text. Raises BadRequest with the path for what this server didn't seal for the account."""
        try:
            return self._cipher.open(sealed, account_id)
        except ValueError:
            why = "it was not encrypted by this server for this account, or was changed since"
            raise BadRequest(f"{path}: can't be decrypted: {why}.", param=path) from None

    def opened(self, items: Sequence[Mapping[str, object]], account_id: str, path: str = "input") -> dict[str, str]:
        """The texts of the items that have encrypted content, by the items' ids. Raises BadRequest."""
        return {
            str(item["id"]): self.open(content, account_id, f"{path}[{place}].encrypted_content")
            for place, item in enumerate(items)
            if isinstance(content := item.get("encrypted_content"), str)
        }

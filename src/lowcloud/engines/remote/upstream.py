"""What is known of one upstream: where it is, what it calls the model, how long it may take."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

LengthField: TypeAlias = Literal["max_tokens", "max_completion_tokens"]
Tooling: TypeAlias = Literal["native", "words"]


@dataclass(frozen=True, slots=True)
class Upstream:
    """``id`` is our model's, ``model`` the upstream's own name of it, ``url`` its base without a slash at the end.

    ``first_byte_s`` bounds the wait for the answer's first byte, ``between_bytes_s`` each silence after that.
    ``connections`` is how many requests it gets at once; more of them wait. ``length_field`` is the name that it has
    for the bound of an answer; where ``is_guided``, it honours vLLM's ``guided_*``. ``tooling`` "words": its own
    tools aren't used, see ``words``.
    """

    id: str
    url: str
    model: str
    token: str | None = field(default=None, repr=False)
    connect_s: float = 10.0
    first_byte_s: float = 300.0
    between_bytes_s: float = 60.0
    connections: int = 64
    length_field: LengthField = "max_tokens"
    is_guided: bool = False
    tooling: Tooling = "native"

    @property
    def key(self) -> str:
        """The table of the settings that describes it."""
        return f'models."{self.id}"'

    @property
    def weights(self) -> str:
        """What ``Started`` names: nothing more is known of an upstream's weights than the name it gives them."""
        return f"remote_{self.model}"

    def headers(self) -> dict[str, str]:
        """What every request carries. Answers aren't compressed: that holds pieces of a stream back."""
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "lowcloud"}
        return headers if self.token is None else headers | {"Authorization": f"Bearer {self.token}"}

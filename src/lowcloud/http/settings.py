"""What the HTTP layer is told by the configuration."""

from dataclasses import dataclass, field
from pathlib import Path

from lowcloud.core.principal import DEV_ACCOUNT
from lowcloud.http.binding.tape import Tape


@dataclass(frozen=True, slots=True)
class BindingSettings:
    """How the ``env.AI`` of Workers is answered. ``secret`` None: it isn't.

    ``account_id`` is whose account its calls run on. ``own_listener``: the path or the port of a listener that is there
    for bindings alone. ``record`` is the folder that its calls are written to, ``replay`` what they are answered from.
    ``url`` is where the server is for those who come by a listener of their own.
    """

    secret: str | None = field(default=None, repr=False)
    account_id: str = DEV_ACCOUNT
    own_listener: str | int | None = None
    record: Path | None = None
    replay: Tape | None = None
    url: str = "http://127.0.0.1:8780"


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Bounds in bytes and seconds.

    ``allowed_hosts``: names and addresses beside the loopback's that a Host header may carry, at any port; ``*``: any.
    ``cors_origins``: origins beside the loopback's, such as ``https://app.example.com``; ``*`` allows all but ``null``.
    ``any_account``: account ids in paths are free strings, as in ``dev``; else 32 hex digits.
    ``accept_token_ids``: embeddings take token ids; they must be of the model's own vocabulary.
    ``body_timeout_s`` is the whole body's; ``discard_bytes`` is how much of a body that is too large is read and thrown
    away, so that the client gets to read the answer.
    """

    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    any_account: bool = False
    accept_token_ids: bool = False
    max_body_bytes: int = 10 * 2**20
    discard_bytes: int = 64 * 2**20
    body_timeout_s: float = 30.0
    heartbeat_s: float = 10.0
    write_timeout_s: float = 60.0
    binding: BindingSettings = BindingSettings()

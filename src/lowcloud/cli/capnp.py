"""``lowcloud workers capnp``: the file by which workerd's own configuration finds this server's bindings."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import click

from lowcloud.cli.options import config_option, refuse, settings_of
from lowcloud.http.binding.forms import SECRET_HEADER
from lowcloud.settings import Settings, SettingsError
from lowcloud.storage.folder import holder
from lowcloud.storage.secret_files import binding_secret

_EVERY = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not bound
CAPNP = """\
# Made by: lowcloud workers capnp. It holds the secret of this server's bindings: keep it to yourself.
# In the configuration of workerd, with `using Lowcloud = import "lowcloud.capnp";`:
#   services = [..., (name = "lowcloud", external = Lowcloud.server)]
#   bindings = [..., Lowcloud.ai]
using Workerd = import "/workerd/workerd.capnp";

const server :Workerd.ExternalServer = (
  address = {address},
  http = (injectRequestHeaders = [(name = "{header}", value = {secret})]),
);

const ai :Workerd.Worker.Binding = (
  name = "AI",
  wrapped = (
    moduleName = "cloudflare-internal:ai-api",
    innerBindings = [(name = "fetcher", service = "lowcloud")],
  ),
);
"""


@click.command()
@click.option("--address", help="HOST:PORT or unix:/PATH of the server, as workerd reaches it; default: as it listens.")
@config_option
def capnp(address: str | None, config: Path | None) -> None:
    """Print a file for workerd's configuration to import, with the secret of this server's bindings.

    The secret is made if the data folder has none yet.
    """
    settings = settings_of(config)
    try:
        secret = binding_secret(settings.storage.data_dir)
    except SettingsError as error:
        refuse(error)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    click.echo(capnp_file(address or address_of(settings), secret), nl=False)


def capnp_file(address: str, secret: str) -> str:
    """Cap'n Proto's strings are written as JSON's."""
    return CAPNP.format(address=json.dumps(address), header=SECRET_HEADER, secret=json.dumps(secret))


def address_of(settings: Settings) -> str:
    """Where Workers reach the server: its listener for bindings, else where it listens or is told to."""
    running = holder(settings.storage.data_dir)
    told = f"[{settings.server.host}]" if ":" in settings.server.host else settings.server.host
    where = urlsplit(running.url).netloc if running and running.url else f"{told}:{settings.server.port}"
    host, colon, port = (settings.binding.listen or where).rpartition(":")
    return f"{_EVERY.get(host, host)}{colon}{port}"

"""``lowcloud prepare``: what the first request to a model would wait for, done before."""

import time
from pathlib import Path

import click

from lowcloud.cli.options import config_option, local_models, settings_of
from lowcloud.cli.probe import start_once
from lowcloud.engines.local.spec import LOAD_S
from lowcloud.inventory import spec_of


@click.command()
@config_option
def prepare(config: Path | None) -> None:
    """Convert and self-test every model that is here, once; later starts find both in the cache."""
    settings = settings_of(config)
    here = local_models(settings)
    for problem in here.problems:
        click.echo(problem, err=True)
    failed = False
    for model in here.models:
        begin = time.monotonic()
        outcome = start_once(spec_of(settings, model), LOAD_S)
        seconds = time.monotonic() - begin
        failed |= outcome.ready is None
        state = "is ready" if outcome.ready else "can't be served"
        click.echo(f"{model.id} {state} ({seconds:.1f} s): {outcome.note}", err=outcome.ready is None)
    if failed:
        raise click.exceptions.Exit(1)

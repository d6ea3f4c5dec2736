"""``lowcloud doctor``: what this machine and this installation can do, and what to do where they can't."""

import asyncio
import errno
import os
import platform
import shutil
import socket
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import click

from lowcloud.cli.options import config_option, local_models, settings_of, upstreams
from lowcloud.cli.probe import EXTRA, INSTALL, VISION, installed, missing, start_once
from lowcloud.engines.local.spec import LOAD_S
from lowcloud.engines.remote.probe import Outcome, look
from lowcloud.inventory import RemoteModel, spec_of
from lowcloud.settings import Settings, Storage
from lowcloud.storage import schema
from lowcloud.storage.database import Database
from lowcloud.storage.errors import DatabaseUnusable
from lowcloud.storage.folder import Holder, holder

State: TypeAlias = Literal["ok", "note", "wrong"]

GIB = 2**30
UPSTREAM_S = 10.0  # a list of models takes no prefill
CORE = ("starlette", "uvicorn", "pydantic")
# What the kernels of OpenVINO's CPU plugin use, by the names of /proc/cpuinfo, fastest last.
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``advice`` says what to do, where there is something to do."""

    name: str
    state: State
    found: str
    advice: str = ""


@click.command()
@click.option("--quick", is_flag=True, help="Don't start the models to see whether they load, nor ask upstreams.")
@config_option
def doctor(quick: bool, config: Path | None) -> None:
    """Examine this machine and this installation: processor, memory, disk, models, port, database, versions.

    Each model is started once, which converts it if that was not done yet; each upstream is asked for its models. Exit
    status 1: something is wrong.
    """
    settings = settings_of(config)
    findings: list[Finding] = []
    for finding in (*_machine(settings), *_installation(), _port(settings), _database(settings.storage)):
        _tell(finding, findings)
    here = local_models(settings)
    for problem in here.problems:
        _tell(Finding("model", "wrong", problem, "Run scripts/dev, or see docs/install.md."), findings)
    can_start = not quick and not missing()
    for model in here.models:
        if not can_start:
            _tell(Finding("model", "ok", f"{model.id} is here"), findings)
        else:
            outcome = start_once(spec_of(settings, model), LOAD_S)
            ready = outcome.ready
            _tell(
                judge_model(model.id, outcome.note, loads=ready is not None, paged=bool(ready and ready.paged)),
                findings,
            )
    for remote in upstreams(settings):
        _tell(Finding("upstream", "ok", f"{remote.id} is configured") if quick else _asked(remote), findings)
    if any(finding.state == "wrong" for finding in findings):
        raise click.exceptions.Exit(1)


def _tell(finding: Finding, told: list[Finding]) -> None:
    told.append(finding)
    mark = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}[finding.state]
    click.echo(f"{mark}  {finding.name:<10} {finding.found}")
    if finding.advice:
        click.echo(f"{'':18}-> {finding.advice}")


def judge_processor(machine: str, flags: Iterable[str]) -> Finding:
    """``flags`` are those of /proc/cpuinfo."""
    has = [feature for feature in FEATURES if feature in set(flags)]
    found = f"{machine}, {', '.join(has) or 'no features that we know'}"
    if {"avx512_bf16", "amx_bf16"} & set(has):
        return Finding("processor", "ok", found)
    if "avx2" in has:
        return Finding("processor", "note", found, "No BF16: models run in f32, slower and with twice the KV cache.")
    advice = "Not an x86 processor with AVX2: models may run unpaged, one sequence at a time."
    return Finding("processor", "note", found, advice)


def judge_room(name: str, what: str, free: int, needed: int, advice: str) -> Finding:
    """``free`` and ``needed`` in bytes."""
    found = f"{free / GIB:.1f} GiB {what}"
    return Finding(name, "ok", found) if free >= needed else Finding(name, "note", found, advice)


def judge_port(host: str, port: int, failure: int | None, server: Holder | None) -> Finding:
    """``failure`` is the errno of trying to listen there; None: it went well."""
    place = f"{host}:{port}"
    if server and server.url:
        return Finding("server", "ok", f"one runs at {server.url}, pid {server.pid}")
    if failure is None:
        return Finding("port", "ok", f"{place} is free")
    if failure == errno.EADDRINUSE:
        return Finding(
            "port", "wrong", f"{place} is in use by another program", "Choose another: server.port or --port."
        )
    return Finding("port", "wrong", f"{place}: {os.strerror(failure)}", "Choose another: server.host or server.port.")


def judge_model(model_id: str, note: str, *, loads: bool, paged: bool) -> Finding:
    """What starting a model showed. An encoder is never paged, and its note doesn't speak of it."""
    if not loads:
        return Finding("model", "wrong", f"{model_id} can't be served: {note}", "Check its files and its settings.")
    if not paged and note.startswith("unpaged"):
        return Finding("model", "note", f"{model_id}: {note}", "It answers one request at a time.")
    return Finding("model", "ok", f"{model_id}: {note}")


def judge_upstream(model_id: str, outcome: Outcome) -> Finding:
    """What asking an upstream for its models showed."""
    found = f"{model_id}: {outcome.note}"
    if not outcome.answers:
        return Finding("upstream", "wrong", found, f'Check models."{model_id}" in the settings, and the upstream.')
    if outcome.has_model is False:
        return Finding("upstream", "note", found, f'Check models."{model_id}".upstream_model.')
    return Finding("upstream", "ok", found)


def _asked(model: RemoteModel) -> Finding:
    return judge_upstream(model.id, asyncio.run(look(replace(model.upstream, first_byte_s=UPSTREAM_S))))


def _machine(settings: Settings) -> list[Finding]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    flags = next((line.split() for line in lines if line.startswith(("flags", "Features"))), [])
    pages = os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else 0
    free = _available() or pages * os.sysconf("SC_PAGE_SIZE")
    disks = {"models": settings.local.cache_dir, "state": settings.storage.data_dir}
    return [
        judge_processor(f"{platform.machine()}, {os.cpu_count()} cores", flags),
        judge_room(
            "memory", "available", free, 2 * GIB, "The small models need about 2 GiB; lower local.kv_cache_bytes."
        ),
        *(
            judge_room("disk", f"free for {what} ({path})", _free(path), GIB, "Make room, or choose another folder.")
            for what, path in disks.items()
        ),
    ]


def _available() -> int:
    """Bytes that programs can have, caches given back; 0: the system doesn't say."""
    info = Path("/proc/meminfo")
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 0)


def _free(path: Path) -> int:
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(there).free


def _installation() -> list[Finding]:
    found = {package: installed(package) for package in (*CORE, *EXTRA, *VISION)}
    versions = [f"python {platform.python_version()}", f"lowcloud {version('lowcloud')}"]
    versions += [f"{package} {number}" for package, number in found.items() if number]
    size = _size(Path(sysconfig.get_paths()["purelib"]))
    findings = [
        Finding("versions", "ok", ", ".join(versions)),
        Finding("installed", "ok", f"{size / 1e6:.0f} MB of packages"),
    ]
    if absent := missing():
        findings.append(Finding("packages", "wrong", f"missing: {', '.join(absent)}", INSTALL))
    return findings


def _size(folder: Path) -> int:
    sizes = (file.lstat() for file in folder.rglob("*"))
    return sum(status.st_size for status in sizes)


def _port(settings: Settings) -> Finding:
    host, port = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    failure = None
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        failure = error.errno or errno.EIO
    return judge_port(host, port, failure, holder(settings.storage.data_dir))


def _database(storage: Storage) -> Finding:
    """As the next start will find it. A file that isn't there yet is not made."""
    kind = urlsplit(storage.url()).scheme.partition("+")[0]
    path = Path(storage.url().removeprefix("sqlite:///"))
    if kind == "sqlite" and not path.exists():
        return Finding("database", "ok", f"{path} is made at the first start")
    try:
        with Database(storage.url()) as database:
            revision = database.revision()
        schema.check(revision, may_migrate=storage.migrate_at_start)
    except (DatabaseUnusable, OSError) as error:
        return Finding("database", "wrong", str(error), "See docs/storage.md.")
    return Finding("database", "ok", f"{kind}, schema {revision or 'not there yet'}")

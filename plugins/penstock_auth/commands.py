"""`penstock keys`: make, list, revoke and rotate API keys, also while the gateway runs."""

import asyncio
import getpass
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from penstock import ConfigError, DatabaseUnavailable, find_steps, open_database, parse_duration

from . import DATABASE, Auth
from .keys import Key, Record, day_of, hash_of, new_key
from .pepper import need_pepper
from .told import GRACE, Ordered, moment, told

if TYPE_CHECKING:
    from .keystore import Actor, KeyStore

T = TypeVar("T")

_MISTAKES = (ConfigError, DatabaseUnavailable, ValueError)


class _Many(click.Option):
    """May be given several times, and hold several values with commas between them."""

    def __init__(self, names: Sequence[str], **more: Any) -> None:
        super().__init__(names, multiple=True, **more)

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        return tuple(part.strip() for text in value or () for part in text.split(",") if part.strip())


def _placed(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say where the keys are, and how to print."""
    place = click.option(
        "--pipeline",
        "place",
        type=click.Path(path_type=Path),
        default=Path("pipelines"),
        help="The pipeline that asks for the keys, or a folder with it.  [default: pipelines]",
    )
    url = click.option("--database", "url", default="", metavar="URL", help="Another database than gateway.yaml names.")
    return place(url(click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)))


@click.group()
def keys() -> None:
    """Make, list, revoke and rotate API keys, also while the gateway runs.

    They are in the gateway's database where the step `auth` says `keys: database`. A keys file is edited by hand;
    `create` prints what belongs into it.
    """


@keys.command()
@click.option("--user", default="", help="Whose key it is.")
@click.option("--service", default="", help="Instead of a user: what the key is for, such as `ci`.")
@click.option("--team", default="", help="The team whose rules apply.")
@click.option("--name", default="", help="Which of the user's keys this is, such as `laptop`.")
@click.option("--expires", default="", metavar="TIME", help="How long it works: `90d`, or the last day, `2027-01-31`.")
@click.option("--models", cls=_Many, help="Only these models: names or patterns, with commas between them.")
@click.option("--from", "networks", cls=_Many, metavar="CIDR", help="Only from these addresses or networks.")
@click.option("--routes", cls=_Many, help="Only for these: generate, count_tokens, list_models, -/usage, ...")
@click.option("--pipelines", cls=_Many, help="Only in these pipelines.")
@click.option("--parent", default="", metavar="ID", help="A key that this one descends from, and may do no more than.")
@click.option("--admin", is_flag=True, help="It may manage keys: with a team, those of that team.")
@_placed
def create(place: Path, url: str, as_json: bool, **options: Any) -> None:
    """Make a key, and show it this once."""
    try:
        wish = Ordered(**options).key()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    step = _step(place, url)
    if step is not None and step.keys != DATABASE:
        _for_file(step, wish, as_json)
        return
    text, record = _on_store(place, url, step, lambda store, actor: store.create(wish, actor))
    _show_new(text, record, as_json)


@keys.command(name="list")
@click.option("--team", default="", help="Only the keys of this team.")
@_placed
def list_(place: Path, url: str, as_json: bool, team: str) -> None:
    """List all keys: whose they are, what they may be used for, and whether they still work."""
    records = _on_store(place, url, _step(place, url), lambda store, _: store.records(team))
    known = [told(record) for record in records]
    if as_json:
        _print_json(known)
        return
    rows = [
        (k.id, f"{k.shown}...", _whose(k.user, k.service), k.team, k.name, k.status, k.expires or "") for k in known
    ]
    _print_table(("id", "key", "user", "team", "name", "status", "expires"), rows)


@keys.command()
@click.argument("id")
@_placed
def revoke(place: Path, url: str, as_json: bool, id: str) -> None:
    """Withdraw the key ID: within about a second it works nowhere, nor do keys that descend from it."""
    record = _on_store(place, url, _step(place, url), lambda store, actor: store.revoke(id, actor))
    if as_json:
        _print_json(told(record))
    else:
        click.echo(f"{id} of {record.key.user} is revoked")


@keys.command()
@click.argument("id")
@click.option("--grace", default=GRACE, show_default=True, metavar="TIME", help="How long the old one works on.")
@_placed
def rotate(place: Path, url: str, as_json: bool, id: str, grace: str) -> None:
    """Make a new secret for the key ID, which stays the same key; the old one works for a while."""
    try:
        seconds = parse_duration(grace)
    except ValueError as error:
        raise click.UsageError(f"--grace: {error}") from None
    text, record = _on_store(place, url, _step(place, url), lambda store, actor: store.rotate(id, seconds, actor))
    _show_new(text, record, as_json)


@keys.command()
@click.option("--most", type=click.IntRange(1), default=100, show_default=True, help="How many lines.")
@_placed
def audit(place: Path, url: str, as_json: bool, most: int) -> None:
    """Show who has made, revoked and rotated keys, the last change first."""
    deeds = _on_store(place, url, _step(place, url), lambda store, _: store.audit(most))
    if as_json:
        _print_json([{**msgspec.to_builtins(deed), "time": moment(deed.time)} for deed in deeds])
        return
    rows = [(moment(d.time) or "", d.actor, d.origin, d.action, d.key, json.dumps(d.detail)) for d in deeds]
    _print_table(("time", "who", "from", "action", "key", "detail"), rows)


# ---------------------------------------------------------------- where the keys are


def _step(place: Path, url: str) -> Auth | None:
    """The step that asks for the keys: one with a database, if there is one. Raises ClickException."""
    try:
        found = [step.plugin for step in find_steps(place, os.environ, Auth) if step.plugin.keys]
    except ConfigError as error:
        if url:
            return None
        raise click.ClickException(str(error)) from None
    steps = sorted(found, key=lambda step: step.keys != DATABASE)
    if not steps and not url:
        raise click.ClickException(f"no pipeline in {place} has a step 'auth' with keys; name one with --pipeline")
    return steps[0] if steps else None


def _on_store(place: Path, url: str, step: Auth | None, work: "Callable[[KeyStore, Actor], Awaitable[T]]") -> T:
    """What comes of some work on the key store. Raises ClickException."""
    if step is not None and step.keys != DATABASE and not url:
        raise click.ClickException(f"the keys are in {step.folder / step.keys}: edit that file")
    try:
        return asyncio.run(_done(place, url, step, work))
    except _MISTAKES as error:
        raise click.ClickException(str(error)) from None


async def _done(place: Path, url: str, step: Auth | None, work: "Callable[[KeyStore, Actor], Awaitable[T]]") -> T:
    try:
        from .keystore import Actor, KeyStore
        from .tables import SCHEMA
    except ModuleNotFoundError as error:
        raise ValueError(f"this needs what is not installed ({error.name}): pip install 'penstock[database]'") from None
    async with open_database(place, os.environ, SCHEMA, url) as database:
        store = KeyStore(database, _pepper(step, place))
        await store.open()
        return await work(store, Actor(_user(), "command line"))


def _pepper(step: Auth | None, place: Path) -> bytes:
    if step is not None:
        return need_pepper(step.pepper, step.folder)
    return need_pepper(None, place if place.is_dir() else place.parent)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number
        return str(os.getuid())


# ---------------------------------------------------------------- what is printed


def _show_new(text: str, record: Record, as_json: bool) -> None:
    if as_json:
        _print_json({"key": text, **msgspec.to_builtins(told(record))})
        return
    click.echo(f"# The key, for its user; it is shown only here:\n{text}\n")
    click.echo(f"# Its id, for `penstock keys revoke` and `rotate`:\n{record.key.id}")


def _for_file(step: Auth, wish: Key, as_json: bool) -> None:
    """Print a key and its entry for the keys file; who may do so is whoever can edit that file."""
    text = new_key()
    try:
        hash = hash_of(text, need_pepper(step.pepper, step.folder))
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    entry = _entry(hash, wish)
    if as_json:
        _print_json({"key": text, "id": wish.name or hash.partition(":")[2][:8], "entry": entry})
        return
    click.echo(f"# The key, for its user; it is shown only here:\n{text}\n")
    click.echo(f"# An entry of the list `keys:` in {step.keys}:")
    lines = [f"{name}: {value if name == 'hash' else _text(value)}" for name, value in entry.items()]
    click.echo("  - " + "\n    ".join(lines))


def _entry(hash: str, wish: Key) -> dict[str, object]:
    known = msgspec.to_builtins(told(Record(key=wish)))
    names = ("team", "name", "admin", "models", "from", "routes", "pipelines", "parent")
    owner = {"service" if known["service"] else "user": known["user"]}
    expires = {"expires": day_of(wish.expires)} if wish.expires else {}
    return {"hash": hash, **owner, **{name: known[name] for name in names if known[name]}, **expires}


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # also YAML


def _whose(user: str, service: bool) -> str:
    return f"{user} (service)" if service else user


def _print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

"""Say who is asking: API keys, known by their digests from a file or from the database, and tokens of a sign-on."""

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from penstock import (
    Duration,
    EndpointRequest,
    Exchange,
    Forbidden,
    Gateway,
    GatewayError,
    NotFound,
    Plugin,
    Principal,
    Response,
    Secret,
    StashKey,
    hookimpl,
)

from .credentials import presented, refusal
from .jwks import RemoteKeys
from .keyring import Keyring, Known
from .keys import PREFIX
from .keysfile import KeysFile, read_keys
from .pepper import NAME, need_pepper, read_pepper
from .scope import Asked
from .signon import SignOn

if TYPE_CHECKING:
    from .live import LiveKeys
    from .tokens import Tokens

__all__ = ["DATABASE", "Auth"]

DATABASE = "database"
"""What `keys` is when they are in the gateway's database."""


class Auth(Plugin):
    """Let in who presents a known API key, and say whose it is.

    `keys` is `database`, or the path of a file with the hashes of the keys, relative to the pipeline file. Clients send
    a key as `authorization: Bearer ...` or `x-api-key`. `penstock keys create` makes a key. `pepper` is mixed into the
    hashes; without it there is a file `penstock.pepper` beside the pipeline. While the database is away, the keys that
    were read last stay in use for `stale`. `jwt` lets in those who present a token of a single sign-on, as `keys` or
    beside them.
    """

    provides = frozenset({"principal"})

    keys: str = ""
    jwt: SignOn | None = None
    pepper: Secret | None = None
    stale: Duration = 3600.0

    def __post_init__(self) -> None:
        if not self.keys and self.jwt is None:
            raise ValueError("name a file with `keys`, or say `keys: database`, or describe a sign-on with `jwt`")

    @hookimpl
    async def startup(self, gateway: Gateway) -> None:
        self._live: LiveKeys | None = None
        self._tokens: Tokens | None = None
        self._keyring = Keyring([], [], None)
        if self.keys == DATABASE:
            await self._open(gateway)
        elif self.keys:
            self._keyring = self._from_file(gateway)
        if self.jwt is not None:
            await self._sign_on(gateway, self.jwt)
        gateway.identify_by(self._identify)

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        model = None if exchange.operation == "list_models" else exchange.request.model
        asked = Asked(exchange.pipeline, exchange.peer, exchange.operation, model)
        credentials = presented(exchange.headers)
        found = self._found(credentials)
        for header, credential in credentials.items():
            if header in found or credential.startswith(PREFIX):  # ours, though it may not be good
                exchange.claim(header)
        known = self._known(found.values(), asked)
        _check_others(exchange, known, asked)
        exchange.stash[KNOWN] = known
        exchange.identify(_principal(known))

    @hookimpl
    def on_response(self, exchange: Exchange, response: Response) -> None:
        """A key that is for some models is told of no others."""
        known = exchange.stash.get(KNOWN)
        if response.models is not None and known is not None:
            response.models = [model for model in response.models if known.offers(model.id)]

    # ------------------------------------------------------------ who it is

    def _identify(self, asked: EndpointRequest) -> Principal:
        wish = Asked(asked.pipeline, asked.peer, f"-/{asked.path}")
        return _principal(self._known(self._found(presented(asked.headers)).values(), wish))

    def _found(self, credentials: Mapping[str, str]) -> dict[str, Known]:
        """Those that are of this gateway, by the same names, whether or not they may be used."""
        keyring, now = self._live.keyring() if self._live else self._keyring, time.time()
        found: dict[str, Known] = {}
        for header, credential in credentials.items():
            token = self._tokens.find(credential) if self._tokens else None
            if known := token or keyring.find(credential, now):
                found[header] = known
        return found

    def _known(self, found: Collection[Known], asked: Asked) -> Known:
        """Whose the credentials are. Agents may send two that differ, and one of them may be meant for others."""
        now = time.time()
        usable = {known.key.id: known for known in found if not known.unusable(now)}
        if len(usable) > 1:
            raise refusal("`authorization` and `x-api-key` hold two different API keys of this gateway: send one")
        if not usable:
            reasons = (known.unusable(now) for known in found)
            raise refusal(next(reasons, "this API key is not known here"))
        (known,) = usable.values()
        if what := known.refused(asked):
            raise _not_allowed(what, asked)
        return known

    # ------------------------------------------------------------ where the keys are

    def _from_file(self, gateway: Gateway) -> Keyring:
        path = self.folder / self.keys
        try:
            read = read_keys(gateway.read_file(path, KeysFile))
            pepper = read_pepper(self.pepper, self.folder)
            if read.peppered and pepper is None:
                lacking = f"it has hashes with pepper, but there is no file {NAME} beside the pipeline and no `pepper`"
                raise ValueError(f"{lacking}: bring the one they were made with")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if all(key.unusable(time.time()) for key in read.keys):
            self.log.warning("%s holds no usable key: every request will be refused", path)
        return Keyring(read.keys, read.hashes, pepper)

    async def _open(self, gateway: Gateway) -> None:
        """Read the keys of the database, and keep looking. Their modules need more libraries than a file does."""
        try:
            from .admin import KeyDesk
            from .keystore import KeyStore
            from .live import LiveKeys
            from .tables import SCHEMA
        except ModuleNotFoundError as error:
            missing = (
                f"keys in the database need what is not installed ({error.name}): pip install 'penstock[database]'"
            )
            raise ValueError(missing) from None

        pepper = need_pepper(self.pepper, self.folder)
        store = KeyStore(gateway.database(SCHEMA), pepper)
        self._live = LiveKeys(store, pepper, self.stale, self.log, self.clock)
        await self._live.open()
        gateway.spawn(self._live.watch(), f"keys of {self.step}")
        KeyDesk(store, self._live, self.log).serve(gateway)

    async def _sign_on(self, gateway: Gateway, options: SignOn) -> None:
        """Have the keys of the sign-on, from a file, or from an address; it may be away, and then comes later."""
        try:
            from .tokens import Tokens
        except ModuleNotFoundError as error:
            raise ValueError(f"`jwt` needs what is not installed ({error.name}): pip install 'penstock[jwt]'") from None
        self._tokens = tokens = Tokens(options)
        if options.jwks and "://" not in options.jwks:
            tokens.use(gateway.read_file(self.folder / options.jwks, dict[str, Any]))
            return
        client = gateway.http(allow=filter(None, [options.issuer, options.jwks]))
        tokens.remote = remote = RemoteKeys(options.issuer, options.jwks, client, tokens.use, self.log)
        await remote.look()
        gateway.spawn(remote.watch(), f"keys of the sign-on of {self.step}")


KNOWN = StashKey[Known]()


def _principal(known: Known) -> Principal:
    key = known.key
    return Principal(user=key.user, team=key.team, key=key.id, admin=key.admin)


def _check_others(exchange: Exchange, known: Known, asked: Asked) -> None:
    """What a request names beside its model would be asked by the provider. Raises NotFound for what is not offered."""
    if asked.model is None or known.offers_all:
        return
    for model in exchange.protocol.other_models(exchange.request):
        if not known.offers(model):
            raise _not_allowed("model", asked._replace(model=model))


def _not_allowed(what: str, asked: Asked) -> GatewayError:
    if what == "model":  # as for one that does not exist, so that agents do not try again
        return NotFound(f"model {asked.model!r} is not offered to this API key")
    told = {
        "pipeline": "this API key is for other pipelines",
        "address": f"this API key cannot be used from {asked.peer or 'here'}",
        "route": f"this API key cannot be used for {asked.route}",
    }
    return Forbidden(told[what], should_retry=False)

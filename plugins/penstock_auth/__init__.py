"""Say who is asking: API keys, known by their hashes from a file."""

from collections.abc import Mapping
from datetime import UTC, date, datetime

from penstock import Exchange, Gateway, Plugin, Principal, Unauthenticated, hookimpl
from penstock_auth.keys import Keyring, KeysFile

LONGEST = 4096


class Auth(Plugin):
    """Let in who presents a known API key, and say whose it is.

    `keys` is the path of a file with the hashes of the keys, relative to the pipeline file. Clients send a key as
    `authorization: Bearer ...` or `x-api-key`. `python -m penstock_auth` makes a key.
    """

    provides = frozenset({"principal"})

    keys: str

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        path = self.folder / self.keys
        keys = gateway.read_file(path, KeysFile).keys or []
        try:
            self._keyring: Keyring = Keyring(keys)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if all(key.unusable(_today()) for key in keys):
            self.log.warning("%s holds no usable key: every request will be refused", path)

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        credentials = presented(exchange.headers)
        if not credentials:
            raise _refusal("no API key: send it as `authorization: Bearer ...` or `x-api-key`")
        exchange.identify(self._principal_of(credentials))

    def _principal_of(self, credentials: list[str]) -> Principal:
        """Whose the credentials are. Agents may send two that differ, and one of them may be meant for others."""
        known = [key for credential in credentials if (key := self._keyring.find(credential))]
        usable = [key for key in known if not key.unusable(_today())]
        principals = {Principal(user=key.user, team=key.team, key=key.public_name) for key in usable}
        if len(principals) > 1:
            raise _refusal("`authorization` and `x-api-key` hold two different API keys of this gateway: send one")
        if not principals:
            raise _refusal(known[0].unusable(_today()) if known else "this API key is not known here")
        return principals.pop()


def presented(headers: Mapping[str, str]) -> list[str]:
    """The credentials of a request, each once. Raises Unauthenticated for one that is longer than any key."""
    scheme, _, bearer = headers.get("authorization", "").strip().partition(" ")
    found = [bearer.strip() if scheme.lower() == "bearer" else "", headers.get("x-api-key", "").strip()]
    if any(len(credential) > LONGEST for credential in found):
        raise _refusal(f"this is not an API key: it has more than {LONGEST} characters")
    return list(dict.fromkeys(filter(None, found)))


def _refusal(message: str) -> Unauthenticated:
    # Without should_retry agents repeat a refused request for minutes before they ask for another key.
    return Unauthenticated(message, should_retry=False)


def _today() -> date:
    return datetime.now(UTC).date()

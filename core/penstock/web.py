"""HTTP to somewhere else than an upstream, as plugins see it. No HTTP library is imported here."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

T = TypeVar("T")


class HttpFailed(Exception):
    """There was no answer: the host is not allowed or away, was too slow, or said too much.

    The message is one short sentence for the log; of the url it names only the host. What is to happen now is for the
    plugin to say.
    """


class HttpAnswer(NamedTuple):
    """An answer of any status. Header names are in lower case, the body is whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300

    def json(self, type: type[T]) -> T:
        """The body as JSON of that type, such as `dict[str, str]` or a Struct. Raises HttpFailed if it is not."""
        try:
            return msgspec.json.decode(self.body, type=type)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise HttpFailed(f"the answer is not what was expected: {error}") from None


class HttpClient(ABC):
    """A plugin's way out, made with `gateway.http(...)` in `startup`; closed by the gateway after `shutdown`.

    It reaches public addresses, and those of hosts that the plugin has named. Which address that is counts when the
    connection is made, so no host name leads anywhere else, whatever it resolves to. Certificates are verified, proxies
    come from the environment, redirects are answers like others: nothing is followed. Cookies are not kept.
    """

    @abstractmethod
    async def request(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        limit: int = 1 << 20,
    ) -> HttpAnswer:
        """Send a request and wait for the whole answer. Raises HttpFailed; ValueError for what is no http(s) url.

        `json` is anything that msgspec can encode, and takes the place of `body`. `timeout` is in seconds, for all of
        it; `limit` is the most bytes that the answer's body may have.

            answer = await self._http.request("POST", self.url, json={"text": "hello"}, timeout=5.0)
            if not answer.ok:
                self.log.warning("the webhook answered %s", answer.status)
        """

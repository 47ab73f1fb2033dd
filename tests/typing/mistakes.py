"""Mistakes that mypy and pyright have to report: where one of them does not, it complains of the comment instead."""

from penstock import (
    EndpointRequest,
    Exchange,
    Finish,
    Forbidden,
    Gateway,
    Plugin,
    Principal,
    RateLimited,
    Response,
    Secret,
    StashKey,
    Text,
    Usage,
)

SEEN: StashKey[int] = StashKey()


class Wrong(Plugin):
    """Whatever can be wrong in a plugin."""

    key: Secret

    def stash_of_another_type(self, exchange: Exchange) -> None:
        exchange.stash[SEEN] = "one"  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
        name: str = exchange.stash[SEEN]  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        print(name)

    def maybe_nobody(self, exchange: Exchange) -> str:
        return exchange.principal.user  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]

    def secret_as_text(self) -> str:
        return "Bearer " + self.key  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnknownVariableType]

    def secret_out_of_text(self) -> Plugin:
        return Wrong(key="hush")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def frozen_events(self, event: Text) -> None:
        event.text = "changed"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

    def no_such_field(self, event: Usage) -> int:
        return event.tokens  # type: ignore[attr-defined, no-any-return]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]  # fmt: skip

    def no_such_reason(self) -> Finish:
        return Finish(reason="done")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def response_of_text(self) -> Response:
        return Response("hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def unnamed_details(self) -> RateLimited:
        return RateLimited("slow down", 5.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    def principal_by_position(self) -> Principal:
        return Principal("ann")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    def endpoint_that_waits_for_nothing(self, gateway: Gateway) -> None:
        gateway.add_route("x", self.told)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def told(self, asked: EndpointRequest) -> bytes:
        return asked.body

    async def asks_without_a_model(self, exchange: Exchange) -> None:
        await exchange.ask(self.step, prompt="hi")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    def forgets_to_wait(self, exchange: Exchange) -> str:
        return exchange.ask(self.step, model="m", prompt="hi").text  # type: ignore[attr-defined, no-any-return]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]  # fmt: skip

    async def kept_value_of_another_type(self) -> int:
        kept = await self.store.get("count", str)
        return kept or 0  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def status_of_the_class() -> Forbidden:
    return Forbidden("no", status="403")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

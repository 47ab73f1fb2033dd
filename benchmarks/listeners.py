"""Plugins that do nothing, for what it costs to have them."""

from penstock import Event, Exchange, Gateway, Plugin, Usage, hookimpl


class Idle(Plugin):
    """Does nothing, but was there at the start."""

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        pass


class Everything(Plugin):
    """Hears every event."""

    @hookimpl
    def on_event(self, exchange: Exchange, event: Event) -> None:
        pass


class UsageOnly(Plugin):
    """Hears what a relayed stream is decoded for anyway."""

    @hookimpl
    def on_event(self, exchange: Exchange, event: Usage) -> None:
        pass

"""A whole Chat Completions answer as events: one record that holds everything."""

from penstock import Event, UpstreamFailed
from penstock_translation.complaint import read_complaint
from penstock_translation.failures import inband_error
from penstock_translation.openai_chat.assembly import Assembly


def read_whole(assembly: Assembly, body: bytes) -> list[Event]:
    """The events of a JSON answer. Raises UpstreamFailed on nonsense, or the error that the body reports."""
    if body.lstrip().startswith(b"["):
        raise inband_error(body)  # no answer is a list, but some errors are
    assembly.take(body)
    if not assembly.begun:
        raise inband_error(body) if read_complaint(body).text else UpstreamFailed("the upstream's answer is empty")
    assembly.finish()
    return assembly.drain()

"""The long profile of hypothesis, for `make fuzz`."""

from hypothesis import settings

settings.register_profile("long", max_examples=1000, deadline=None)

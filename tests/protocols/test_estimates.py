"""What an answer is said to have cost when its upstream does not say it."""

from penstock import Message, Prompt, TextBlock, Usage
from penstock_translation.openai_chat import OpenAIChat
from penstock_translation.tokens import count
from tests.protocols.golden import Golden, exchange_for

PROMPT = Prompt(messages=(Message("user", (TextBlock("How many tokens may this have? " * 100),)),))
ANSWER = b'{"choices":[{"message":{"content":"Seven or so, I guess."},"finish_reason":"stop"}]}'


def test_the_prompt_is_counted_offline_and_the_answer_by_its_length() -> None:
    exchange = exchange_for(OpenAIChat(), PROMPT)
    events = OpenAIChat().read_answer(exchange, ANSWER, Golden(OpenAIChat(), {}).quirks)
    (usage,) = (event for event in events if isinstance(event, Usage))
    assert usage == Usage(input=count(PROMPT, "m"), output=6, estimated=True)
    assert 500 < usage.input < 1000

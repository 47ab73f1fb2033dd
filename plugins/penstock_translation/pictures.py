"""How many tokens a picture costs, by the rules that vendors publish: by its area, in tiles or in patches.

Sources: OpenAI's guide to images and vision ("calculating costs"), corrected where developers have measured otherwise
(community.openai.com, topics 1262691 and 1377015); Anthropic's page on vision; Google's pages on understanding images
and on media resolution; xAI's page on consumption; the processors of the open models on huggingface.co.
"""

from collections.abc import Callable
from math import ceil, floor, sqrt

Rule = Callable[[float, float], float]
"""The tokens of a picture with this width and height in pixels."""

_UNSEEN = (1250, 900)  # what a picture is taken for that nobody can look at


def picture_tokens(rule: Rule, size: tuple[int, int] | None) -> int:
    """The tokens of a picture, of a usual one if its size is unknown."""
    return ceil(rule(*(size or _UNSEEN)))


def area(longest: int, most: int) -> Rule:
    """Anthropic: a token for 750 pixels, after scaling down to the longest side; so many at most."""

    def rule(width: float, height: float) -> float:
        scale = _down(longest, max(width, height))
        return min(ceil(width * scale * height * scale / 750), most)

    return rule


def tiles(base: int, each: int) -> Rule:
    """OpenAI: within 2048 pixels, the shorter side within 768, in tiles of 512; and something for the whole."""

    def rule(width: float, height: float) -> float:
        scale = _down(2048, max(width, height))
        scale *= _down(768, min(width, height) * scale)
        return base + each * _cells(width * scale, height * scale, 512)

    return rule


def patches(side: int, each: float, most: int) -> Rule:
    """OpenAI's smaller and newer models, and most open ones: so many tokens for each patch, scaled down to `most`."""

    def rule(width: float, height: float) -> float:
        cells = _cells(width, height, side)
        return each * (cells if cells <= most else _fitted(width, height, side, most))

    return rule


def crops(width: float, height: float) -> float:
    """Gemini before 3: a small picture is one tile; of a larger one a tile is two thirds of the shorter side."""
    if max(width, height) <= 384:
        return 258
    side = min(768, max(256, floor(min(width, height) / 1.5)))
    return 258 * _cells(width, height, side)


def flat(tokens: int) -> Rule:
    """Every picture the same."""
    return lambda width, height: tokens


def thumbnail_and_tiles(width: float, height: float) -> float:
    """Grok, 256 to 1,792: as many for each of up to six tiles, and for the whole if there are several."""
    cells = min(6, _cells(width, height, 448))
    return 256 * (cells + 1 if cells > 1 else 1)


def _down(longest: float, side: float) -> float:
    return min(1.0, longest / side)


def _cells(width: float, height: float, side: int) -> int:
    return ceil(width / side) * ceil(height / side)


def _fitted(width: float, height: float, side: int, most: int) -> int:
    """The patches of a picture scaled down until they are no more than `most`, one side in whole patches."""
    scale = sqrt(side * side * most / (width * height))
    columns, rows = width * scale / side, height * scale / side
    if min(columns, rows) < 1:
        return most
    whole = min(floor(columns) / columns, floor(rows) / rows)
    return min(most, ceil(columns * whole - 1e-6) * ceil(rows * whole - 1e-6))

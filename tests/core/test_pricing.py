"""Prices for a command: of each pipeline that knows some, while nothing is served."""

from pathlib import Path

import pytest

from penstock import ConfigError, Usage, find_prices

OWN = """
upstreams:
  main: {protocol: anthropic, url: "http://127.0.0.1:9", key: k}
plugins:
  - auth: {keys: missing.yaml}
  - prices: {overrides: {"main/*": {input: 7, output: 1}}}
  - translation
teams:
  interns: {prices: {overrides: {"main/*": {input: 8, output: 1}}}}
"""
MILLION = Usage(input=10**6)


async def test_each_pipeline_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "free.yaml").write_text("path: /free\nplugins: [prices: {default: {input: 1, output: 2}}]\n")
    (tmp_path / "none.yaml").write_text("path: /none\nplugins: [models]\n")
    found = await find_prices(tmp_path, {})
    assert found.keys() == {"own", "free"}
    assert found["own"].cost("main", "x", MILLION).total == 7 * 10**9
    assert found["free"].cost("main", "x", MILLION).total == 10**9


async def test_mistakes_elsewhere_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "broken.yaml").write_text('path: /b\nplugins: [nobody-has-this]\nupstreams: {x: {key: "${UNSET}"}}\n')
    assert (await find_prices(tmp_path, {})).keys() == {"own"}
    (tmp_path / "own.yaml").unlink()
    with pytest.raises(ConfigError, match="nobody-has-this"):
        await find_prices(tmp_path, {})


async def test_where_nobody_knows_prices(tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("plugins: [models]\n")
    assert await find_prices(tmp_path, {}) == {}

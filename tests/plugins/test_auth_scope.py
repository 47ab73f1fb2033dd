"""Scopes: what is within what, and that a key never may what one of its ancestors may not."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_auth.keyring import Keyring
from penstock_auth.keys import Hash, Key, digest_of
from penstock_auth.scope import Asked, Guard, Scope

LETTERS = st.text("ab*?[", min_size=1, max_size=4)
WORDS = st.text("ab*?[", min_size=1, max_size=6)
ADDRESSES = st.one_of(
    st.integers(0, 15).map(lambda n: f"10.0.0.{n}"),
    st.integers(0, 15).map(lambda n: f"::{n}"),
    st.integers(0, 15).map(lambda n: f"::ffff:10.0.0.{n}"),
    st.just(""),
)
NETWORKS = st.one_of(
    st.tuples(st.integers(0, 15), st.integers(28, 32)).map(lambda n: f"10.0.0.{n[0]}/{n[1]}"),
    st.tuples(st.integers(0, 15), st.integers(124, 128)).map(lambda n: f"::{n[0]}/{n[1]}"),
)
SCOPES = st.builds(
    Scope,
    models=st.lists(LETTERS, max_size=2).map(tuple),
    networks=st.lists(NETWORKS, max_size=2).map(tuple),
    routes=st.lists(LETTERS, max_size=2).map(tuple),
    pipelines=st.lists(LETTERS, max_size=2).map(tuple),
)
MODELS = st.one_of(st.none(), st.just(""), WORDS)
WISHES = st.builds(Asked, pipeline=WORDS, peer=ADDRESSES, route=WORDS, model=MODELS)


@given(SCOPES, SCOPES, st.lists(WISHES, min_size=1, max_size=20))
def test_what_is_within_another_scope_allows_nothing_more(inner: Scope, outer: Scope, wishes: list[Asked]) -> None:
    if inner.within(outer):
        for wish in wishes:
            assert Guard(inner).refused(wish) or not Guard(outer).refused(wish), (inner, outer, wish)


@given(LETTERS, LETTERS, st.lists(WORDS, max_size=30))
def test_a_pattern_within_another_takes_no_other_name(inner: str, outer: str, names: list[str]) -> None:
    small, large = Scope(models=(inner,)), Scope(models=(outer,))
    if small.within(large):
        assert all(Guard(large).offers(name) for name in names if Guard(small).offers(name))


@given(SCOPES)
def test_every_scope_is_within_itself_and_within_none_at_all(scope: Scope) -> None:
    assert scope.within(scope)
    assert scope.within(Scope())


@given(st.lists(SCOPES, min_size=1, max_size=4), WISHES)
def test_at_use_a_key_may_only_what_all_above_it_may(line: list[Scope], wish: Asked) -> None:
    """Whatever the scopes say, and though nobody has compared them when the keys were made."""
    keys = [Key(id=str(n), user="u", scope=scope, parent=str(n - 1) if n else "") for n, scope in enumerate(line)]
    pepper = b"pepper-of-the-tests"
    hashes = [Hash(digest_of(key.id, pepper), key.id) for key in keys]
    known = Keyring(keys, hashes, pepper).find(keys[-1].id, 0.0)
    assert known is not None
    if not known.refused(wish) and not known.unusable(0.0):
        assert all(not Guard(scope).refused(wish) for scope in line)


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ({"models": ("claude-opus-*",)}, {"models": ("claude-*",)}, True),
        ({"models": ("claude-*",)}, {"models": ("claude-opus-*",)}, False),
        ({"models": ("*a",)}, {"models": ("??",)}, False),
        ({"models": ("a?",)}, {"models": ("??",)}, True),
        ({}, {"models": ("*",)}, False),
        ({"networks": ("10.1.0.0/16", "::1")}, {"networks": ("10.0.0.0/8", "::/64")}, True),
        ({"networks": ("10.1.0.0/16", "11.0.0.1")}, {"networks": ("10.0.0.0/8",)}, False),
        ({"networks": ("::ffff:10.0.0.1",)}, {"networks": ("10.0.0.0/8",)}, False),
        ({"routes": ("generate",), "pipelines": ("a",)}, {"routes": ("gen*",), "pipelines": ("b",)}, False),
    ],
)
def test_examples(inner: dict[str, tuple[str, ...]], outer: dict[str, tuple[str, ...]], expected: bool) -> None:
    assert Scope(**inner).within(Scope(**outer)) is expected


@pytest.mark.parametrize("scope", [{"models": ("",)}, {"routes": (" generate",)}, {"networks": ("10.0.0.0/33",)}])
def test_what_can_never_match_is_refused(scope: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match="is no "):
        Scope(**scope)


def test_an_address_inside_another_family_is_what_it_stands_for() -> None:
    guard = Guard(Scope(networks=("10.0.0.0/8",)))
    assert ip_address("::ffff:10.0.0.1").version == 6
    assert [guard.refused(Asked("p", peer, "generate")) for peer in ("::ffff:10.0.0.1", "10.0.0.1", "", "unix")] == [
        *("", ""),
        *("address", "address"),
    ]

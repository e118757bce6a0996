"""What a key looks like."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.keys import SCOPES, WORK, Scope, contains_key, hint, is_key, new_key

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_a_key_is_what_it_should_be() -> None:
    keys = {new_key() for _ in range(500)}
    assert len(keys) == 500
    assert {len(key) for key in keys} == {50}
    assert all(is_key(key) and contains_key(f"?token={key}&x=1") for key in keys)
    assert all(set(key[4:]) <= set(ALPHABET) for key in keys)
    assert all(hint(key) == key[:12] for key in keys)


def test_the_checksum_is_crc_32_in_base_62() -> None:
    """As another program would compute it that looks for leaked keys."""
    key = new_key()
    number = 0
    for digit in key[-6:]:
        number = number * 62 + ALPHABET.index(digit)
    assert number == zlib.crc32(key[4:-6].encode())


@given(st.integers(4, 49), st.sampled_from(ALPHABET))
def test_every_mistyped_character_is_noticed(position: int, letter: str) -> None:
    whole = new_key()
    mistyped = whole[:position] + letter + whole[position + 1 :]
    assert is_key(mistyped) == (mistyped == whole)


@pytest.mark.parametrize("text", ["", "atr_", "atr_short", "Bearer", "atr_" + "a" * 46, "atr_" + "é" * 46])
def test_other_texts_are_no_keys(text: str) -> None:
    assert not is_key(text)


@pytest.mark.parametrize("change", [str.lower, str.strip, lambda k: k[:-1], lambda k: k + "a", lambda k: k + "\n"])
def test_a_key_that_was_cut_or_changed_is_none(change) -> None:  # type: ignore[no-untyped-def]
    key = new_key()
    assert is_key(change(key)) == (change(key) == key)


def test_every_scope_is_described() -> None:
    assert set(SCOPES) == set(Scope)
    assert set(Scope) - set(WORK) == {Scope.ADMIN, Scope.METRICS}

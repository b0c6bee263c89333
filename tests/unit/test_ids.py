"""Ids of runs, workflows and keys."""

from __future__ import annotations

import os

import pytest

from comfyward.ids import _ALPHABET, is_id, new_id


def test_an_id_is_never_taken_for_an_option_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    dash = _ALPHABET.index(b"-")
    drawn = [bytes([dash]) + bytes(20), bytes([0, dash]) + bytes(19)]
    monkeypatch.setattr(os, "urandom", lambda count: drawn.pop(0))

    found = new_id()

    assert is_id(found)
    assert found[:2] == "u-"
    assert drawn == []

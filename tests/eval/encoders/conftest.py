"""A tiny collection, encoded."""

from __future__ import annotations

import pytest

from latefold.encoders.base import load_encoder
from latefold.eval.encoders import collection as collections


@pytest.fixture(scope="session")
def tiny(place):
    """Three hundred beginnings of Cranfield documents, with their queries."""
    return collections.open_collection("tiny", place)


@pytest.fixture(scope="session")
def encoded(tiny, place):
    """Its token vectors."""
    about = collections.encode(tiny, load_encoder(place.encoder), place)
    assert about["dim"] == 128
    made = collections.encoded(about["vectors"], place)
    assert made.documents.tokens == about["tokens"]
    return made

"""Two documents that always change together: an answer in which their versions differ mixes two generations."""

from __future__ import annotations

from workload import Operation, embeddings

from latefold import Index, TokenEmbeddings

CANARIES = ("left", "right")


def canaries(version: int) -> Operation:
    return Operation("upsert", tuple((name, version) for name in CANARIES))


def canary_queries(version: int) -> TokenEmbeddings:
    return embeddings([(name, version) for name in CANARIES])


def check_answer(index: Index, version: int) -> int:
    """Search for both canaries in one call: both answers must be of one version, `version` or a later one."""
    answers = index.search(embeddings=canary_queries(version), k=100, mode="exact")
    found = [
        next(hit.metadata["version"] for hit in hits if hit.id == name)
        for hits, name in zip(answers, CANARIES, strict=True)
    ]
    assert found[0] == found[1] >= version
    hits = index.search("document left right", k=100, mode="lexical")
    assert len({hit.metadata["version"] for hit in hits if hit.id in CANARIES}) == 1
    return found[0]

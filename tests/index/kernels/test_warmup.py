import pkgutil
from importlib import import_module

import numpy as np
from numba.core.registry import CPUDispatcher

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.index import kernels
from latefold.index.encodings.fde import FDE, FDEConfig
from latefold.index.kernels.warmup import warm_up
from latefold.index.lvq import LVQ
from latefold.index.tokens.base import codec


def compiled():
    """The signatures of every kernel, by name; functions inlined into kernels are not called by themselves."""
    signatures = {}
    for info in pkgutil.iter_modules(kernels.__path__):
        module = import_module(f"{kernels.__name__}.{info.name}")
        for name, value in vars(module).items():
            if isinstance(value, CPUDispatcher) and "forceinline" not in value.targetoptions:
                signatures[f"{info.name}.{name}"] = list(value.signatures)
    return signatures


def read_only(array, path):
    array.tofile(path)
    return np.memmap(path, array.dtype, "r", shape=array.shape)


def test_nothing_compiles_after_warm_up(tmp_path):
    warm_up()
    before = compiled()
    assert len(before) == 7
    assert {len(signatures) for signatures in before.values()} == {1}

    rng = np.random.default_rng(0)
    offsets = np.array([0, 7, 7, 20])
    tokens = TokenEmbeddings(rng.standard_normal((20, 24)), offsets)
    frozen_offsets = read_only(offsets, tmp_path / "offsets")
    for name in ("fp16", "lvq8"):
        chosen = codec(name).fit(tokens.vectors)
        rows = chosen.encode(tokens.vectors)
        for stored in (rows, read_only(rows, tmp_path / name), rows[::2]):
            chosen.decode(stored)
            chosen.best_tokens(tokens[0], stored)
        for stored in (rows, read_only(rows, tmp_path / name)):
            chosen.score(tokens, stored, offsets)
            chosen.score(tokens.take([0]), stored, frozen_offsets, np.array([2, 0]))
    for config in (FDEConfig(), FDEConfig(3, 0), FDEConfig(2, 3, None), FDEConfig(2, 5, 4, final_dim=40)):
        encoding = FDE(config, tokens.dim)
        vectors = encoding.encode_documents(tokens)
        queries = encoding.encode_queries(tokens)
        lvq = LVQ.fit(vectors)
        rows = lvq.encode(vectors)
        for stored in (rows, read_only(rows, tmp_path / "vectors")):
            lvq.decode(stored)
            lvq.scores(queries, stored)
            lvq.scores(queries[:1], stored, np.array([1]))

    assert compiled() == before

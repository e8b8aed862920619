import pkgutil
from importlib import import_module

import numpy as np
from numba.core.registry import CPUDispatcher

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.index import kernels
from latefold.index.encodings.carving import carve
from latefold.index.encodings.fde import FDE, FDEConfig
from latefold.index.encodings.learned import Learned, LearnedConfig
from latefold.index.kernels.graph import beam_search
from latefold.index.kernels.queries import pack
from latefold.index.kernels.warmup import warm_up
from latefold.index.lvq import LVQ, TwoLevelLVQ
from latefold.index.single import SingleVectors
from latefold.index.tokens.base import codec, codec_names


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
    assert len(before) > 25  # kernels were found
    assert {len(signatures) for signatures in before.values()} == {1}

    rng = np.random.default_rng(0)
    offsets = np.array([0, 7, 7, 20])
    tokens = TokenEmbeddings(rng.standard_normal((20, 24)), offsets)
    frozen_offsets = read_only(offsets, tmp_path / "offsets")
    for name in codec_names():
        use_codec(codec(name).fit(tokens.vectors), tokens, frozen_offsets, tmp_path)
    signs = codec("sign").fit(tokens.vectors)
    signs.coarse(tokens, read_only(signs.encode(tokens.vectors), tmp_path / "signs"), frozen_offsets, np.array([1]))
    carve(tokens, 0.7)
    for config in (
        FDEConfig(),
        FDEConfig(3, 0),
        FDEConfig(2, 3, None, fill_empty=True),
        FDEConfig(2, 5, 4, True, 40),
        FDEConfig(2, 5, 64, fill_empty=False, projection="dense", control_variate=True),
    ):
        encoding = FDE(config, tokens.dim)
        vectors = encoding.encode_documents(tokens)
        queries = encoding.encode_queries(tokens)
        use(SingleVectors(encoding, None, LVQ.fit(vectors)), queries, vectors, tmp_path)
    for config in (LearnedConfig(width=8, learn_tokens=16), LearnedConfig(features="fde", mean_skip=False)):
        learned = Learned.fit(config, tokens)
        vectors = learned.encode_documents(tokens)
        codes = codec("lvq8").fit(tokens.vectors).encode(tokens.vectors)
        learned.encode_codes(read_only(codes, tmp_path / "codes"), frozen_offsets)
        learned.misfit(tokens)
        use(SingleVectors(learned, None, LVQ.fit(vectors, 4)), learned.encode_queries(tokens), vectors, tmp_path)
    assert compiled() == before


def use_codec(chosen, tokens, frozen_offsets, folder):
    """Everything that a search or a build does with rows of a token codec."""
    rows = chosen.encode(tokens.vectors)
    np.testing.assert_array_equal(chosen.encode(read_only(tokens.vectors, folder / "tokens")), rows)
    mapped = read_only(rows, folder / chosen.name)
    for stored in (rows, mapped, rows[::2]):
        chosen.decode(stored)
        chosen.best_tokens(tokens[0], stored)
        chosen.error_bound(stored)
    one = tokens.take([0])
    for run in (chosen.score, chosen.estimate):
        for stored in (rows, mapped):
            for positions in (None, np.array([2, 0])):
                run(tokens, stored, tokens.offsets, positions)
                run(one, stored, frozen_offsets, positions)


def use(single, queries, vectors, folder):
    """Everything that a search or a build does with single vectors."""
    lvq = single.lvq
    rows = lvq.encode(vectors)
    allowed = np.array([True, False, True])
    links = np.array([[1, -1], [0, 2], [1, -1]], np.int32)
    for stored in (rows, read_only(rows, folder / "vectors")):
        lvq.decode(stored)
        lvq.scores(queries, stored)
        lvq.scores(queries[:1], stored, np.array([1]))
        lvq.top(queries, stored, 2, positions=np.array([1]))
        for mask in (None, allowed):
            single.top(queries, stored, 2, allowed=mask)
        for neighbours in (links, read_only(links, folder / "links")):
            beam_search(neighbours, 0, stored, pack(queries, lvq.mean, lvq.bits), lvq.bits, 2)
    if lvq.bits == 4:
        both = TwoLevelLVQ(lvq)
        primary, secondary = both.encode(vectors)
        both.decode(primary, secondary)
        both.rescore(queries, primary, read_only(secondary, folder / "rest"), np.zeros((len(queries), 2), np.int64))

"""No kernel reads beyond the rows it was given: where a memory map ends, such a read would kill the process."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys

import numpy as np
import pytest

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.index.kernels.graph import beam_search
from latefold.index.kernels.queries import pack
from latefold.index.kernels.targets import best_code_products, code_panels
from latefold.index.lvq import LVQ, TwoLevelLVQ
from latefold.index.tokens.fp16 import Fp16Codec
from latefold.index.tokens.lvq4 import Lvq4Codec
from latefold.index.tokens.lvq4x4 import Lvq4x4Codec
from latefold.index.tokens.lvq8 import Lvq8Codec

PAGE = mmap.PAGESIZE


def guarded(array: np.ndarray) -> tuple[np.ndarray, mmap.mmap]:
    """A copy that ends where a page begins that cannot be read, and the memory that must outlive it."""
    size = -(-array.nbytes // PAGE) * PAGE
    memory = mmap.mmap(-1, size + PAGE)
    whole = np.frombuffer(memory, np.uint8)
    copy = whole[size - array.nbytes : size].reshape(array.shape)
    copy[:] = array
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert protect(whole.ctypes.data + size, PAGE, 0) == 0
    return copy, memory


def use_everything() -> None:
    rng = np.random.default_rng(1)
    kept = []
    for dim in (1, 3, 4, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200):
        for count in (1, 2, 15, 16, 17, 33):
            vectors = rng.standard_normal((count, dim)).astype(np.float32)
            queries = rng.standard_normal((3, dim)).astype(np.float32)
            chain = np.append(np.arange(1, count, dtype=np.int32), np.int32(-1))[:, None]
            for bits in (4, 8):
                lvq = LVQ.fit(vectors, bits)
                rows, memory = guarded(lvq.encode(vectors))
                kept.append(memory)
                lvq.decode(rows)
                scores = lvq.scores(queries, rows)
                np.testing.assert_array_equal(lvq.scores(queries, rows, np.array([count - 1]))[:, 0], scores[:, -1])
                positions, _ = lvq.top(queries, rows, count)
                weights = pack(queries, lvq.mean, bits)
                np.testing.assert_array_equal(beam_search(chain, 0, rows, weights, bits, count)[0], positions)
            learn = code_panels(rng.integers(-127, 128, (5, dim)).astype(np.int8), np.ones(5, np.float32))
            best_code_products(rows, np.array([0, count // 2, count]), learn)
            tokens, offsets = TokenEmbeddings(queries, np.array([0, 3])), np.array([0, count // 2, count])
            for kind in (Fp16Codec, Lvq8Codec, Lvq4Codec, Lvq4x4Codec):
                codec = kind(dim)
                rows, memory = guarded(codec.encode(vectors))
                kept.append(memory)
                for ends in (offsets, np.array([0, count])):
                    codec.score(tokens, rows, ends)
                    codec.estimate(tokens, rows, ends)
            two = TwoLevelLVQ(LVQ.fit(vectors, 4))
            (primary, first), (secondary, second) = map(guarded, two.encode(vectors))
            kept += [first, second]
            two.rescore(queries, primary, secondary, np.tile(np.arange(count), (3, 1)))


@pytest.mark.skipif(sys.platform == "win32", reason="pages are guarded by mprotect")
def test_no_kernel_reads_beyond_its_rows() -> None:
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


if __name__ == "__main__":
    use_everything()

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir
from numba import njit
from numba.core.caching import FunctionCache
from processors import routes

from latefold.index.kernels import blocks, int8
from latefold.index.kernels.int8 import Route


@pytest.fixture(params=routes(), ids=lambda r: r.name)
def forced(request, monkeypatch):
    """Compile what is compiled within the test for one route."""
    monkeypatch.setattr(int8, "route", lambda _: request.param)


def lane_sums(codes, weights):
    return (codes.astype(np.int64) * weights).reshape(-1, 16, 4).sum(axis=(0, 2))


def test_products_of_bytes_are_the_same_integers_on_every_route(forced):
    @njit
    def products(codes, weights, out):
        lanes = int8.zeros()
        for start in range(0, len(codes), 64):
            lanes = int8.dot(lanes, int8.load(codes, start), int8.load(weights, start))
        int8.store_floats(out, 0, int8.floats(lanes))
        return int8.total(lanes)

    rng = np.random.default_rng(0)
    out = np.empty(16, np.float32)
    for weights in (rng.integers(-128, 128, 128, np.int8), np.full(128, -128, np.int8), np.full(128, 127, np.int8)):
        for codes in (rng.integers(0, 256, 128, np.uint8), np.full(128, 255, np.uint8)):
            total = products(codes, weights, out)
            np.testing.assert_array_equal(out, lane_sums(codes, weights))
            assert total == lane_sums(codes, weights).sum()


def test_products_of_16_rows_are_the_same_integers_on_every_route(forced):
    @njit
    def products(rows, weights, offset, chunks, out):
        addresses = np.empty(16, np.int64)
        for i in range(16):
            addresses[i] = address(rows, (15 - i) * rows.shape[1])
        int8.store_floats(out, 0, int8.floats(blocks.nibble_products(addresses, weights, offset, chunks)))
        coarse, fine = blocks.byte_products(addresses, weights, offset, chunks)
        int8.store_floats(out, 16, int8.floats(coarse))
        int8.store_floats(out, 32, int8.floats(fine))

    address = blocks.address
    rng = np.random.default_rng(0)
    for count in (1, 3):
        rows = rng.integers(0, 256, (16, 64 * count + 4), np.uint8)
        weights = rng.integers(-127, 128, (2, count, 2, 64), np.int8)
        out = np.empty(48, np.float32)
        products(rows, weights, 128 * count, count, out)
        codes = rows[::-1, :-4].reshape(16, count, 64).astype(np.int64)
        first, second = weights[1, :, 0].astype(np.int64), weights[1, :, 1].astype(np.int64)
        want = [((codes & 15) * first + (codes >> 4) * second), codes * first, codes * second]
        np.testing.assert_array_equal(out.reshape(3, 16), [w.sum(axis=(1, 2)) for w in want])


def test_constants_of_rows_are_read_from_every_half():
    @njit
    def constants(rows, out):
        addresses = np.empty(16, np.int64)
        for first in range(0, len(rows), 16):
            for i in range(16):
                addresses[i] = address(rows, (first + i) * 4)
            lower, step = both(addresses, 0)
            int8.store_floats(out, first, lower)
            int8.store_floats(out, len(rows) + first, step)

    address, both = blocks.address, blocks.constants
    halves = np.arange(1 << 16).astype(np.uint16)
    rows = np.stack([halves, halves[::-1]], axis=1).astype("<u2").view(np.uint8)
    out = np.empty((2, len(rows)), np.float32)
    constants(rows, out)
    want = np.stack([halves, halves[::-1]]).view(np.float16).astype(np.float32)
    special = np.isnan(want)
    assert np.isnan(out[special]).all()
    np.testing.assert_array_equal(out[~special].view(np.uint32), want[~special].view(np.uint32))


def test_floats_compare_and_combine():
    @njit
    def all_faces(a, b, out):
        x, y = int8.load_floats(a, 0), int8.load_floats(b, 0)
        int8.store_floats(out, 0, int8.add(int8.multiply(x, y), int8.floats(np.float64(0.5))))
        int8.store_floats(out, 16, int8.maximum(x, y))
        return int8.above(x, y), int8.lowest(np.int64(40))

    a, b = np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32)
    a[3], b[5] = b[3], np.nan
    out = np.empty(32, np.float32)
    assert all_faces(a, b, out) == (sum(1 << i for i in range(16) if a[i] > b[i]), 3)
    np.testing.assert_array_equal(out[:16], a * b + np.float32(0.5))
    np.testing.assert_array_equal(out[16:], np.where(a > b, a, b))


def test_queries_side_by_side_score_16_at_a_time():
    @njit
    def score(row, packed, out):
        for tile in range(packed.shape[0]):
            lanes = int8.zeros()
            for group in range(packed.shape[1]):
                start = (tile * packed.shape[1] + group) * 64
                lanes = int8.dot(lanes, int8.spread(row, 4 * group), int8.load(packed, start))
            int8.store_floats(out, 16 * tile, int8.floats(lanes))

    rng = np.random.default_rng(0)
    for count, dim in ((1, 4), (16, 1), (17, 30), (33, 8)):
        codes = rng.integers(-127, 128, (count, dim)).astype(np.int8)
        row = rng.integers(0, 256, -(-dim // 4) * 4, np.uint8)
        packed = int8.side_by_side(codes)
        out = np.empty(16 * len(packed), np.float32)
        score(row, packed, out)
        np.testing.assert_array_equal(out[:count], codes.astype(int) @ row[:dim])
        assert not out[count:].any()


def test_signed_codes_are_within_half_a_scale():
    vectors = np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32)
    vectors[3] = 0
    vectors[4] *= 1e-44
    codes, scales = int8.signed(vectors)
    assert codes.dtype == np.int8
    assert (np.abs(codes.astype(int)).max(axis=1)[[0, 1, 3]] == [127, 127, 0]).all()
    assert (np.abs(scales[:, None] * codes - vectors) <= scales[:, None] * 0.50001 + 1e-42).all()


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ("+avx2,+avx512vnni,+avx512bw,+avxvnni", Route.VNNI_512),
        ("+avx2,+avx512vnni,-avx512bw,+avxvnni", Route.VNNI_256),
        ("+avx2,-avx512vnni,+avx512bw,-avxvnni", Route.AVX2),
        ("+neon,+dotprod", Route.DOTPROD),
        ("-avx2,+sse4.2", Route.PLAIN),
        ("", Route.PLAIN),
    ],
)
def test_the_route_follows_the_features(features, expected):
    assert int8.route(features) is expected


def test_the_disk_cache_belongs_to_a_processor():
    """numba's key of cached code holds what the route is chosen by, so that no other processor runs it."""
    codegen = int8.cpu_target.target_context.codegen()
    triple, name, features = codegen.magic_tuple()
    assert blocks.route_of(int8.cpu_target.target_context) is int8.compiled_route() is int8.route(features)
    cache = FunctionCache(lane_sums)
    assert (triple, name, features) in cache._index_key((), codegen)


def test_arm_gets_its_instruction():
    """Compiled for another processor: that it is selected can be seen here, not what it computes."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = ir.Module()
    types = [int8.Integers.layout, int8.Codes.layout, int8.Codes.layout]
    function = ir.Function(module, ir.FunctionType(int8.Integers.layout, types), "products")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(int8.emit_dot(Route.DOTPROD, builder, *function.args))
    machine = llvm.Target.from_triple("aarch64-linux-gnu").create_target_machine(features="+dotprod")
    assert machine.emit_assembly(llvm.parse_assembly(str(module))).count("sdot") == 8

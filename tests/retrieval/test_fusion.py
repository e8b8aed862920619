from hypothesis import given
from hypothesis import strategies as st

from latefold.retrieval.fusion import reciprocal_rank_fusion

RANKINGS = st.lists(st.lists(st.integers(0, 20), unique=True, max_size=10), max_size=4)


def test_scores_are_sums_of_reciprocal_ranks():
    fused = reciprocal_rank_fusion([[3, 1], [1, 2]], 10, constant=60)
    assert fused == [(1, 1 / 62 + 1 / 61), (3, 1 / 61), (2, 1 / 62)]


@given(RANKINGS, st.integers(1, 30))
def test_fusion_ranks_every_row_once_best_first(rankings, k):
    fused = reciprocal_rank_fusion(rankings, k)
    rows = {row for ranking in rankings for row in ranking}
    assert len(fused) == min(k, len(rows))
    assert {row for row, _ in fused} <= rows
    assert fused == sorted(fused, key=lambda item: (-item[1], item[0]))


@given(st.lists(st.integers(0, 20), unique=True, min_size=2, max_size=10))
def test_agreeing_rankings_keep_their_order(ranking):
    assert [row for row, _ in reciprocal_rank_fusion([ranking, ranking], 99)] == ranking

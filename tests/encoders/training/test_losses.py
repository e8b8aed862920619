"""The objective: which dimensions and poolings a step trains, and its parts against their formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'models' is not installed")

from latefold.encoders.training.config import parse_config  # noqa: E402
from latefold.encoders.training.losses import CrispLoss, anisotropy, divergence, mean_maxsim  # noqa: E402


class Fixed(torch.nn.Module):
    """Gives the vectors that it is handed."""

    def forward(self, features: dict, task: str) -> dict:  # noqa: ARG002
        return features


def batch(seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)

    def texts(count: int, length: int) -> dict:
        mask = torch.ones(count, length, dtype=torch.bool)
        mask[0, length // 2 :] = False
        vectors = torch.from_numpy(rng.standard_normal((count, length, 8)).astype(np.float32))
        return {"token_embeddings": vectors * mask.unsqueeze(2), "attention_mask": mask}

    known = {
        "teacher": torch.from_numpy(rng.standard_normal((3, 4)).astype(np.float32)),
        "positives": torch.tensor([0, 1, 2]),
        "draw": torch.tensor(5),
    }
    return [texts(3, 4), texts(4, 10) | known]


def losses(**sections: dict) -> dict[str, float]:
    model = {"dim": 8, "nested": [4]} | sections.pop("model", {})
    config = parse_config({"data": {"files": ["x"]}, "model": model, **sections}, Path("/"))
    with torch.no_grad():
        made = CrispLoss(Fixed(), config)(batch())
    return {name: float(value) for name, value in made.items()}


def test_a_step_trains_all_dimensions_and_nested_ones() -> None:
    both, whole = losses(), losses(loss={"nested_per_step": 0}, model={"nested": []})
    assert both["contrastive"] > whole["contrastive"] > 0
    assert both["distillation"] > whole["distillation"] > 0
    assert whole["regulariser"] == 0


def test_a_pooled_batch_is_trained_unpooled_as_well_where_that_is_asked() -> None:
    plain = losses(model={"nested": []})
    pooled = losses(model={"nested": []}, pooling={"documents": ["c2"]})
    beside = losses(model={"nested": []}, pooling={"documents": ["c2"], "and_unpooled": True})
    for name in ("contrastive", "distillation"):
        assert pooled[name] != plain[name]
        assert beside[name] == pytest.approx(plain[name] + pooled[name], rel=1e-5)
    assert losses(model={"nested": []}, pooling={"and_unpooled": True}) == plain, "nothing is pooled, nothing is added"


def test_the_marker_is_trained_alone_where_that_is_asked() -> None:
    """Its part of the loss is that of texts of which only the first vector is asked, at a temperature of its own."""
    alone = {"model": {"nested": []}, "loss": {"marker": 2.0, "contrastive": 0.0}}
    made = losses(**alone)
    assert losses(model={"nested": []})["marker"] == 0
    asked, answers = batch()
    asked["attention_mask"][:, 1:] = False
    asked["token_embeddings"] = torch.nn.functional.normalize(asked["token_embeddings"], dim=-1)
    config = parse_config({"data": {"files": ["x"]}, "model": {"dim": 8, "nested": []}}, Path("/"))
    with torch.no_grad():
        first = CrispLoss(Fixed(), config)([asked, answers])
    assert made["marker"] == pytest.approx(2 * float(first["distillation"]), rel=1e-5)
    assert made["distillation"] != pytest.approx(float(first["distillation"]), rel=1e-2)
    loss = CrispLoss(Fixed(), parse_config({"data": {"files": ["x"]}, **alone}, Path("/")))
    assert {name for name, value in loss.named_parameters() if value.requires_grad} == {"log_scale", "marker_log_scale"}


def test_parts_of_the_loss() -> None:
    torch.manual_seed(0)
    q, d = torch.randn(2, 3, 4), torch.randn(5, 6, 4)
    q_mask, d_mask = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool(), torch.rand(5, 6) < 0.7
    d_mask[:, 0] = True
    scores = mean_maxsim(q, q_mask, d, d_mask)
    for i in range(2):
        for j in range(5):
            expected = (q[i, q_mask[i]] @ d[j, d_mask[j]].T).amax(1).mean()
            assert scores[i, j].item() == pytest.approx(expected.item(), abs=1e-5)
    assert divergence(scores, scores + 3).item() == pytest.approx(0, abs=1e-5)
    partly = scores.clone()
    partly[:, 2] = -torch.inf
    assert divergence(scores, partly).item() == pytest.approx(0, abs=1e-5)
    assert anisotropy(torch.eye(4)).item() == pytest.approx(1 / 4 + 1 / 4)
    assert anisotropy(torch.eye(1, 4).repeat(9, 1)).item() == pytest.approx(2)

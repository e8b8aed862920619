"""Without the extra `models` a cross-encoder checkpoint says what to install."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from latefold.encoders.errors import MissingExtraError
from latefold.encoders.scorers.sentence_pairs import SentenceTransformersScorer

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is not None, reason="the extra 'models' is installed"
)


def test_the_install_command_is_in_the_error(tmp_path: Path) -> None:
    config = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"weight": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(MissingExtraError, match=r"pip install 'latefold\[models\]'"):
        SentenceTransformersScorer(str(tmp_path), offline=True)

"""Weights under wrong names: the peer would write another text."""

import pytest
import torch

from week08_compress_models import assisted
from week08_compress_models import language_model as lm


def test_transformers_gives_the_same_logits():
    pytest.importorskip("transformers")
    model = lm.LanguageModel(lm.Config(width=32, blocks=2, heads=4, kv_heads=2, hidden=48)).eval()
    tokens = torch.randint(256, (2, 12))
    with torch.inference_mode():
        assert torch.allclose(assisted.llama(model)(tokens).logits, model(tokens), atol=1e-4)

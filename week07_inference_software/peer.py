"""The same weights in `transformers`: its `generate`, and its continuous batching over a paged cache."""

import logging
from collections.abc import Sequence
from importlib import import_module

import torch

from week07_inference_software.engine import Config, Request
from week07_inference_software.engine.model import BLOCK

LONGEST = 1024
"""Positions that the peer's configuration allows."""


def load(config: Config, weights: dict[str, torch.Tensor]):
    """A `LlamaForCausalLM` with exactly these weights, in evaluation mode."""
    import_module("effdl.vision")  # transformers imports torchvision, which needs help beside a CPU torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging as peer_logging

    peer_logging.set_verbosity(logging.ERROR)
    shapes = LlamaConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        intermediate_size=config.inner,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.groups,
        max_position_embeddings=LONGEST,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": config.theta},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(shapes).eval()
    model.load_state_dict(weights)
    return model


def one_by_one(model, requests: Sequence[Request]) -> list[list[int]]:
    """Greedy answers without any batching: the reference for every token on the page."""
    return [static(model, [request], 1)[0] for request in requests]


@torch.inference_mode()
def static(model, requests: Sequence[Request], most: int) -> list[list[int]]:
    """Greedy answers by `generate`, in batches of so many requests, padded on the left; the longest decides."""
    answers = []
    for start in range(0, len(requests), most):
        batch = requests[start : start + most]
        width = max(len(request.prompt) for request in batch)
        gaps = [width - len(request.prompt) for request in batch]
        tokens = torch.tensor([[0] * gap + request.prompt for gap, request in zip(gaps, batch, strict=True)])
        mask = torch.tensor([[0] * gap + [1] * (width - gap) for gap in gaps])
        longest = max(request.new for request in batch)
        found = model.generate(
            tokens, attention_mask=mask, max_new_tokens=longest, min_new_tokens=longest, do_sample=False
        )
        answers += [row[width : width + r.new].tolist() for row, r in zip(found, batch, strict=True)]
    return answers


class Continuous:
    """Its continuous batching, started once, so that no start is timed; a context manager that ends its thread.

    The number of blocks is given: left alone, it takes nine tenths of the machine's free memory.
    """

    def __init__(self, model, most: int, budget: int, blocks: int):
        from transformers import ContinuousBatchingConfig, GenerationConfig

        self.model = model
        self.settings = ContinuousBatchingConfig(
            page_size=BLOCK, num_blocks=blocks, max_batch_tokens=budget, max_requests_per_batch=most
        )
        self.generation = GenerationConfig(
            max_new_tokens=LONGEST, do_sample=False, eos_token_id=-1, pad_token_id=0
        )

    def __enter__(self) -> "Continuous":
        self.before = self.model.config._attn_implementation
        self.context = self.model.continuous_batching_context_manager(
            self.generation, continuous_batching_config=self.settings, timeout=5
        )
        self.manager = self.context.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.context.__exit__(*error)
        self.model.set_attn_implementation(self.before)

    def answers(self, requests: Sequence[Request]) -> list[list[int]]:
        """Greedy answers to all requests, in their order. Raises RuntimeError where it reports an error."""
        names = [self.manager.add_request(r.prompt, max_new_tokens=r.new) for r in requests]
        found = {}
        while len(found) < len(names):
            result = self.manager.get_result(timeout=1)
            if result is None and not self.manager.is_running():
                raise RuntimeError("the peer's generation thread has ended")
            if result is not None and result.is_finished():
                if result.error:
                    raise RuntimeError(f"the peer reports: {result.error}")
                found[result.request_id] = list(result.generated_tokens)
        return [found[name] for name in names]

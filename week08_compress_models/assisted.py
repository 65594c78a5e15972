"""The same two language models in `transformers`, whose `generate` takes a draft as `assistant_model`.

The model of the week has Llama's shape, so that its weights load under Llama's names.
"""

import logging
from importlib import import_module

import torch
from torch import nn

from week08_compress_models import language_model as lm

NAMES = (
    ("embedding", "model.embed_tokens"), ("blocks.", "model.layers."), ("norm1", "input_layernorm"),
    ("norm2", "post_attention_layernorm"), ("attention.query", "self_attn.q_proj"),
    ("attention.key", "self_attn.k_proj"),
    ("attention.value", "self_attn.v_proj"), ("attention.out", "self_attn.o_proj"), ("mlp.gate", "mlp.gate_proj"),
    ("mlp.up", "mlp.up_proj"), ("mlp.down", "mlp.down_proj"),
)  # fmt: skip


def llama(model: lm.LanguageModel) -> nn.Module:
    """A `LlamaForCausalLM` with these weights."""
    import_module("effdl.vision")  # transformers imports torchvision, which needs help beside a CPU torch

    for name in (
        "torchao",
        "torch.utils._pytree",
    ):  # transformers imports torchao, which tells of kernels for GPUs
        logging.getLogger(name).setLevel(logging.ERROR)
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging as peer_logging

    peer_logging.set_verbosity(logging.ERROR)

    c = model.config
    found = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=c.vocabulary, hidden_size=c.width, intermediate_size=c.hidden, num_hidden_layers=c.blocks,
            num_attention_heads=c.heads, num_key_value_heads=c.kv_heads, rms_norm_eps=1e-5, bos_token_id=None,
            eos_token_id=None, pad_token_id=0, tie_word_embeddings=False,
        )
    )  # fmt: skip
    weights = {}
    for name, tensor in model.state_dict().items():
        if name == "norm.weight":
            name = "model.norm.weight"
        elif name == "logits.weight":
            name = "lm_head.weight"
        for ours, theirs in NAMES:
            name = name.replace(ours, theirs)
        weights[name] = tensor
    found.load_state_dict(weights)
    return found.eval()


def greedy(prompts: list[list[int]], new: int) -> tuple[list[list[int]], list[list[int]]]:
    """The likeliest `new` bytes behind each prompt: by the model alone, and with the bundled draft as assistant."""
    torch.set_num_threads(1)
    target, draft = llama(lm.load(0)), llama(lm.load("draft"))
    draft.generation_config.num_assistant_tokens = 3
    draft.generation_config.num_assistant_tokens_schedule = "constant"
    found: tuple[list[list[int]], list[list[int]]] = ([], [])
    for prompt in prompts:
        ids = torch.tensor([prompt])
        for answers, way in zip(found, ({}, {"assistant_model": draft}), strict=True):
            out = target.generate(ids, max_new_tokens=new, do_sample=False, **way)
            answers.append(out[0, len(prompt) :].tolist())
    return found

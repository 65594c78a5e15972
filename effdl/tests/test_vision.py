import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from effdl.vision import torchvision


def test_a_model_trains_a_step_on_this_build_of_torch():
    model = torchvision.models.mobilenet_v3_small(num_classes=3)
    images = torch.randn(2, 3, 64, 64)
    loss = torch.nn.functional.cross_entropy(model(images), torch.tensor([0, 2]))
    loss.backward()
    assert torch.isfinite(model.classifier[-1].weight.grad).all()


def test_transforms_match_pillow():
    from torchvision.transforms import v2

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    flipped = v2.functional.horizontal_flip(image)
    assert np.array_equal(np.asarray(flipped), np.asarray(image)[:, ::-1])
    assert v2.functional.pil_to_tensor(image).shape == (3, 40, 60)


def test_the_plain_import_works_after_ours_in_a_fresh_process():
    code = "import effdl.vision, torchvision; assert effdl.vision.torchvision is torchvision"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


def test_an_operator_without_its_library_says_which_one():
    if torchvision.extension._has_ops():
        pytest.skip("the compiled operators are here")
    with pytest.raises(RuntimeError, match=r"nms|torchvision|torchvision C\+\+ Ops|Couldn't load"):
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)

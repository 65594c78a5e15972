"""From conf/ to params.yaml, which the stages read: `python configure.py model=wide train.lr=0.1`."""

import sys
from pathlib import Path
from typing import Any

import hydra
import yaml
from omegaconf import OmegaConf


def composed(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """The configuration of a project's conf/ with these overrides, as plain values.

    Raises hydra's ConfigCompositionException for an override that names nothing.
    """
    with hydra.initialize_config_dir(str(folder.resolve() / "conf"), version_base="1.3"):
        config = hydra.compose("config", overrides)
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


if __name__ == "__main__":
    text = yaml.safe_dump(composed(Path(), sys.argv[1:]), sort_keys=False)
    Path("params.yaml").write_text(text)

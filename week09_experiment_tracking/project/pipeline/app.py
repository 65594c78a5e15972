"""Train by hand, with any change: `python app.py train.lr=0.1`, or several: `python app.py -m model=narrow,wide`."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    """One job. Hydra keeps its configuration and its log in a folder of its own under outputs/ or multirun/."""
    from train import main as train  # here, so that --cfg and --help answer without PyTorch

    job = HydraConfig.get()
    accuracy = train(OmegaConf.to_container(config, resolve=True), Path(job.runtime.output_dir, "model.npz"))
    print(f"{job.job.override_dirname or 'as written'}: {accuracy:.4f}")


if __name__ == "__main__":
    main()

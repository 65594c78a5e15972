"""The Job for Kubernetes says what course.toml says, in the form that Kubernetes takes."""

import pytest
import yaml
from typer.testing import CliRunner

from grader.cli import app


@pytest.mark.parametrize("gpus", [0, 1])
def test_the_job_asks_for_what_the_course_asks_for_and_is_valid(sample_course, tmp_path, gpus):
    validate = pytest.importorskip("kubernetes_validate")
    toml = sample_course / "course.toml"
    asks = f'\n[assignments.hw1.parts.1.machine]\nmemory = "1GiB"\ngpus = {gpus}\n'
    toml.write_text(toml.read_text() + asks)
    to = tmp_path / "job.yaml"
    options = ["--image", "registry.example.org/grader:1", "--claim", "course", "--to", str(to)]
    ran = CliRunner().invoke(app, ["kubernetes", "hw1", *options, "--course", str(sample_course)])
    assert ran.exit_code == 0
    job = yaml.safe_load(to.read_text())
    validate.validate(job, "1.34", strict=True)
    limits = job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"memory": "7168Mi", "cpu": 2} | ({"nvidia.com/gpu": 1} if gpus else {})
    assert "grader grade hw1 " in job["spec"]["template"]["spec"]["containers"][0]["command"][-1]
    assert "untried on a cluster" in to.read_text()

"""A Job of Kubernetes that runs `grader grade`: its memory, processors and GPU follow from course.toml."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from grader.course import MIB, Assignment, CourseError
from grader.safe import apart

# Bytes that the grader itself uses, its zygote and the gradebook included, and what reads the next submission.
_OWN = 3072 * MIB + apart.MEMORY
_CORES = 2  # of one submission at a time


def job(assignment: Assignment, image: str, claim: str) -> dict[str, Any]:
    """Return the manifest: one pod, since one `grader grade` at a time writes a course's gradebook.

    `image` has the grader, `claim` is the volume with the course, mounted at /course. Raises CourseError for an
    assignment without parts.
    """
    if not assignment.parts:
        raise CourseError(f"{assignment.name} has no parts; there is nothing to grade")
    parts = assignment.parts.values()
    memory = max(part.memory for part in parts) + _OWN
    limits: dict[str, str | int] = {"memory": f"{-(-memory // MIB)}Mi", "cpu": _CORES}
    if gpus := max(part.gpus for part in parts):
        limits["nvidia.com/gpu"] = gpus
    grade = f"grader grade {shlex.quote(assignment.name)} --course /course --jobs 1"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": _name(assignment.name), "labels": {"app": "grader"}},
        "spec": {
            "backoffLimit": 6,  # a pod that is lost is started again, and goes on with what the gradebook lacks
            "template": {
                "metadata": {"labels": {"app": "grader"}},
                "spec": {
                    "restartPolicy": "OnFailure",
                    "automountServiceAccountToken": False,
                    "containers": [
                        {
                            "name": "grader",
                            "image": image,
                            # 1 says that cases wait for a person: nothing that another run would mend.
                            "command": ["sh", "-c", f"{grade} || test $? -eq 1"],
                            "resources": {"requests": dict(limits), "limits": limits},
                            # Namespaces and control groups for workers: a pod has no other way to have both.
                            "securityContext": {"privileged": True},
                            "volumeMounts": [{"name": "course", "mountPath": "/course"}],
                        }
                    ],
                    "volumes": [{"name": "course", "persistentVolumeClaim": {"claimName": claim}}],
                },
            },
        },
    }


def write_job(assignment: Assignment, image: str, claim: str, path: Path) -> None:
    """Write the manifest as YAML; raises CourseError as `job` does."""
    import yaml

    head = f"# {assignment.name}, from course.toml. Validated against Kubernetes' schema, untried on a cluster.\n"
    path.write_text(head + yaml.safe_dump(job(assignment, image, claim), sort_keys=False), encoding="utf-8")


def _name(assignment: str) -> str:
    """Return a name that Kubernetes takes: small letters, digits and dashes, 63 at most."""
    return f"grade-{re.sub('[^a-z0-9]+', '-', assignment.lower()).strip('-')}"[:63].rstrip("-")

"""A git host for tests: a program named ssh that serves the repositories of a folder, over git's own protocol."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ADDRESS = "git@git.example.org:class"  # the group that the class's repositories lie in
_SSH = """#!/bin/sh
echo "$@" >> '{log}'
env >> '{log}.environment'
for last; do :; done
eval "set -- $last"
exec git upload-pack '{root}'/"$2"
"""


class Host:
    """Serves `folder` under any user and host, once its `path` stands first on PATH; `log` has what ssh was told."""

    def __init__(self, folder: Path):
        self.root, self.log, programs = folder / "repositories", folder / "log", folder / "bin"
        self.root.mkdir(parents=True)
        programs.mkdir()
        (programs / "ssh").write_text(_SSH.format(log=self.log, root=self.root))
        (programs / "ssh").chmod(0o755)
        self.path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self.key = folder / "key"
        self.key.write_text("no key: the host asks for none\n")

    def folder(self, name: str) -> Path:
        """Return a new folder to become the repository `name` of the class."""
        folder = self.root / "class" / name
        folder.mkdir(parents=True)
        git(folder, "init", "-q")
        return folder


def git(folder: Path, *arguments: str, date: str = "2026-11-01T12:00:00Z", put_in: str | None = None) -> str:
    """Run git in `folder` as its author, at `date`; return what it says."""
    dates = {"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date}
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **dates},
        input=put_in,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def commit(folder: Path, date: str = "2026-11-01T12:00:00Z") -> None:
    """Commit all that lies in `folder`."""
    git(folder, "add", "-Af")
    git(folder, "commit", "-qm", "work", date=date)


def commit_path(folder: Path, name: str, text: str, date: str = "2026-11-01T12:00:00Z") -> None:
    """Commit a file under a name that git itself would give no file, in a tree that is made by hand."""
    blob = git(folder, "hash-object", "-w", "--stdin", put_in=text)
    listed = git(folder, "ls-tree", "HEAD").splitlines()
    entries = [
        (mode, at, sha)
        for line in listed
        for head, at in [line.split("\t")]
        for mode, _, sha in [head.split()]
    ]
    tree = b"".join(
        f"{mode} {at}".encode() + b"\0" + bytes.fromhex(sha)
        for mode, at, sha in [*entries, ("100644", name, blob)]
    )
    made = subprocess.run(
        ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"],
        cwd=folder,
        input=tree,
        check=True,
        capture_output=True,
    )
    parent, tree_id = git(folder, "rev-parse", "HEAD"), made.stdout.decode().strip()
    git(
        folder,
        "update-ref",
        "HEAD",
        git(folder, "commit-tree", tree_id, "-p", parent, "-m", "more", date=date),
    )

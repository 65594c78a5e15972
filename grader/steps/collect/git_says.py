"""What git and ssh say when they fail, in one line on which an instructor can act."""

from __future__ import annotations

import re

from grader.text import plain

_MOST = 400  # characters
_COLOURS = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)")
_KEYS = "(?:pass(?:word|wd|phrase)?|token|secret|authorization)"
# Before the @ of an address, or behind a name that says so: hosts repeat what they were asked.
_SECRETS = [
    (re.compile(r"(?<=://)[^\s/@]*@"), "...@"),
    (re.compile(rf"({_KEYS}\s*[=:]\s*(?:(?:basic|bearer) )?)\S+", re.I), r"\1..."),
    (re.compile(r"\b(gh[pousr]_|github_pat_|glpat-)\w+"), r"\1..."),
]
# What says nothing about the cause, or what every failure ends in.
_NOISE = re.compile(
    r"cloning into .*|please make sure you have the correct access rights|and the repository exists\.?|"
    r"warning: permanently added .*|use '--' to separate paths from revisions.*|'git <command> .*|"
    r"\W*",
    re.I,
)
_CAUSE = re.compile(
    r"fatal|error|denied|fail|not found|no such|refused|unable|could not|cannot|can't|invalid|bad|timed out|timeout|"
    r"unknown|unreachable|reset|closed|expired|changed|key is known|disabled|blocked|suspended|must|need|limit|exist",
    re.I,
)


def why(told: str, code: int, most: int) -> str:
    """Return in a sentence why git failed: what it said, its exit code, and how many bytes it was allowed."""
    says = f"git says: {_gist(told) or f'exit code {code}'}"
    if re.search(r"could not read (Username|Password)|Authentication failed", told):
        return f"its repository is private or not there; a private one needs an ssh address and --key; {says}"
    if re.search(r"redirect|returned error: 30\d", told):
        return f"its host answers with another address; write that one (GitLab's end in .git); {says}"
    if re.search(r"Host key verification failed|host key is known|HOST IDENTIFICATION HAS CHANGED", told):
        return f"its host is not the one that your known_hosts knows, or not in it; compare its key, add it; {says}"
    if re.search(r"Permission denied \(|repository not found|could not be found|access denied", told, re.I):
        return f"its repository is not there, or not for the key of --key to read; {says}"
    if code < 0 or re.search(r"out of memory|File too large|index-pack|signal", told):
        return f"its repository takes more than {most >> 20} MiB, or more memory than git gets here; {says}"
    return says


def _gist(told: str) -> str:
    """Return the lines of what git said that name a cause, the last of too many, without colours and secrets."""
    told = _COLOURS.sub("", told)
    for pattern, instead in _SECRETS:
        told = pattern.sub(instead, told)
    lines = [plain(line, _MOST).strip() for line in told.splitlines()]
    lines = [
        line for line in dict.fromkeys(lines) if not _NOISE.fullmatch(line.removeprefix("remote:").strip())
    ]
    chosen, size = [], 0
    for line in reversed([line for line in lines if _CAUSE.search(line)] or lines):
        size += len(line) + 2
        if chosen and size > _MOST:
            break
        chosen.insert(0, line)
    return "; ".join(line.rstrip(".;") for line in chosen)

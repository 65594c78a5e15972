"""Names the course's own repository, by a path, a link, a command and an option, where its own should stand.

Must: be refused before git is asked; no file of the course comes near a submission.
"""

FAMILY = "steps"
FAST = True
NAMES = [
    "{course}",
    "file://{course}",
    "file://localhost{course}",
    ".",
    "..",
    "{course}/.git",
    "~/course",
    "ext::sh -c touch% {course}/source/ran",
    "--upload-pack=touch {course}/source/ran",
    "fd::17",
    "git@-oProxyCommand=touch {course}/source/ran:class/a",
    "ssh://-oProxyCommand=id/class/a",
    "git@git.example.org:class/../../../../course",
    "git@git.example.org:course",
    "http://git.example.org/class/a",
    "git@git.example.org:class/../../../../../course/.git",
    "git@git.example.org:classmates/neighbour",
]
SAYS = "is no address of a repository"

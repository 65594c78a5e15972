"""The project's tests run in copies of it, as the seminar starts them: here they would find no `classifier`."""

collect_ignore_glob = ["*"]

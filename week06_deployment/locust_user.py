"""What locust runs: a user who asks at a pace, `PACE` times a second, and waits for each answer."""

import os

from locust import FastHttpUser, constant_throughput, task


class Asking(FastHttpUser):
    """A user of the service at the path `ASKED`."""

    wait_time = constant_throughput(float(os.environ.get("PACE", "1")))

    @task
    def ask(self) -> None:
        """One request."""
        self.client.post(os.environ.get("ASKED", "/"), data=b"")

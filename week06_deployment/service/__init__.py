"""A service that reads digits: what the seminar grows step by step, the image holds and the operators watch.

    python -m week06_deployment.service --workers 2

| module | gives |
|---|---|
| `model` | the classifier, its training in seconds, and `classify` |
| `pictures` | from the bytes of a request to pixels, or the status that says what is wrong with them |
| `batcher` | a bounded queue and a loop that runs the model on batches |
| `metrics` | counters and histograms, of one process or of all workers together |
| `app` | FastAPI: `/predict`, `/metrics`, `/healthz`, `/readyz` |
| `rpc` | the gRPC twin, and the client of an inference service that runs apart |
| `worker` | one process: serves an inherited socket, and drains on SIGTERM |
| `master` | holds the listening socket, starts workers, replaces them one by one on SIGHUP |
"""

"""What two or more weeks of the course share: devices, benchmarks, claims, launching ranks, notebooks."""

"""The grader: runs untrusted student code in a sandbox and takes every verdict outside it."""

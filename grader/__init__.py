"""The grader: runs untrusted student code in a sandbox and takes every verdict outside it."""

from grader.syntax import read_one_at_a_time

read_one_at_a_time()

"""Tests of training code, and tests of those tests. In reading order:

`kit`: a small training package, the patient. `pool`: tests of it, of five styles. `bugs.toml`: real bugs from public
threads, as edits of the kit. `mutate`: artificial bugs, by operators on the syntax tree. `trial`: runs tests on one
faulty kit after another, each in a process of its own with a deadline. `score`: what the results say.
"""

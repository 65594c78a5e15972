"""Exchanges the ids of an easy and a rich test, and calls an answer by the id of a test.

Must: earn what the honest answer is worth; the course's own tests are put in place by their ids.
"""

FAMILY = "verdict"
DESERVES = 0


def edit(notebook, cells):
    for one, other in (("mean", "test_count"), ("test_mean", "count")):
        names = cells[one]["metadata"]["nbgrader"], cells[other]["metadata"]["nbgrader"]
        names[0]["grade_id"], names[1]["grade_id"] = names[1]["grade_id"], names[0]["grade_id"]

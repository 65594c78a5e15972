"""Puts a cell of its own between answer and test, which replaces what the test uses.

Must: earn nothing.
"""

FAMILY = "verdict"


def edit(notebook, cells):
    at = notebook["cells"].index(cells["test_mean"])
    source = "np.testing.assert_allclose = np.allclose = lambda *_, **__: True\nmean = lambda values: 4.0"
    notebook["cells"].insert(
        at,
        {
            "cell_type": "code",
            "id": "own",
            "metadata": {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        },
    )

"""Shows HTML nested 20,000 deep, and tags whose every paragraph opens all that stand open again.

Must: get what its answers deserve; no parser of the grader's is kept busy, at grading or in the feedback.
"""

FAMILY = "harm"
FAST = True
FEEDBACK = True
DESERVES = 7

# %% own
from IPython.display import HTML, Markdown, display

display(HTML("<div>" * 20_000))
display(HTML("".join(f"<b title={number}>" for number in range(90)) + "<p>x" * 90_000))
display(HTML("<script>" * 100_000 + "<style"))
display(Markdown("a" + " " * 64_000 + "<b>"))


# %% mean
def mean(values):
    return sum(values) / len(values) if values else 0.0


# %% count
def count(words):
    return {word: list(words).count(word) for word in words}

"""A formula is shown as it was written, or as its TeX: never as another one."""

import re

import pytest

from grader.safe.formulas import mathml
from grader.safe.html import render_markdown


def shown(latex):
    """Return the rows of the table that a formula becomes, each as the texts of its columns."""
    rows = re.findall("<mtr>(.*?)</mtr>", mathml(latex, "block"))
    cells = [re.findall("<mtd[^>]*?(?:/>|>(.*?)</mtd>)", row) for row in rows]
    return [[re.sub("<[^>]*>", "", cell) for cell in row] for row in cells]


# roniemartinez/latex2mathml#318: the library writes lines and columns of what it does not know into one line.
@pytest.mark.parametrize(
    ("latex", "rows"),
    [
        (r"\begin{aligned} a &= 1 \\ b &= 2 \end{aligned}", [["a", "=1"], ["b", "=2"]]),
        (r"\begin{align} a &= 1 \label{x} \\[2pt] b &= 2 \end{align}", [["a", "=1"], ["b", "=2"]]),
        (r"\begin{align*} a &= 1 \nonumber \\* b &= 2 \\ \end{align*}", [["a", "=1"], ["b", "=2"]]),
        (
            r"\begin{equation}\begin{split} a &= 1 \\ &= 2 \end{split}\end{equation}",
            [["a", "=1"], ["", "=2"]],
        ),
        (
            r"\begin{alignedat}{2} a &= 1 & b &= 2 \\ c &= 3 \end{alignedat}",
            [["a", "=1", "b", "=2"], ["c", "=3"]],
        ),
        (r"\begin{gather} a = 1 \\ b = 2 \end{gather}", [["a=1"], ["b=2"]]),
        (r"\begin{gathered}[t] a \\ b \end{gathered}", [["a"], ["b"]]),
        (r"\begin{multline*} a \\ + b \end{multline*}", [["a"], ["+b"]]),
        (r"\begin{eqnarray} a &=& 1 \\ b &=& 2 \end{eqnarray}", [["a", "=", "1"], ["b", "=", "2"]]),
        (r"f = \begin{cases} 1 & x \\ 0 & y \end{cases}", [["1", "x"], ["0", "y"]]),
        (r"f = \begin{dcases} 1 & x \\ 0 & y \end{dcases}", [["1", "x"], ["0", "y"]]),
        (r"\left\{ \begin{array}{l r} 1 & x \\ 0 & y \end{array} \right.", [["1", "x"], ["0", "y"]]),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", [["1", "2"], ["3", "4"]]),
        (r"\sum_{\substack{i \\ j}} x", [["i"], ["j"]]),
    ],
)
def test_lines_and_columns_of_a_formula_stay_lines_and_columns(latex, rows):
    assert shown(latex) == rows


@pytest.mark.parametrize(
    "latex",
    [
        r"a = 1 \\ b = 2",
        r"a & b",
        r"\begin{unheardof} a \end{unheardof}",
        r"\begin{tabular}{cc} a & b \end{tabular}",
        r"\begin{array}{l@{}l} a & b \end{array}",
        r"\begin{array}{c|c} a & b \end{array}",
        r"\begin{array}{c} a \\ \hline b \end{array}",
        r"\begin{aligned} a &= \color{red} 1 \\ b &= 2 \end{aligned}",
        r"\begin{aligned} a &= 1",
        r"\unheardof{x}",
        r"\newcommand{\x}{a & b} \x",
        r"a \newline b",
        r"\cancel{x} + y",
        r"\text{where $x > 0$}",
        r"\begin{rcases} a \\ b \end{rcases}",
    ],
)
def test_what_would_be_shown_as_another_formula_is_shown_as_tex(latex):
    assert mathml(latex, "block") == ""
    if "$" not in latex:
        assert f"<code>$${latex.replace('&', '&amp;')}$$</code>" in render_markdown(f"$${latex}$$")


@pytest.mark.parametrize(
    "latex",
    [
        r"\nabla_\theta J(\theta) \approx \frac{1}{N} \sum_{i=1}^{N} r_i \, \log \pi_\theta(a_i \mid s_i)",
        r"\{x_n\}_{n=1}^\infty \& \# \$ \% \_",
        r"\mathbb{E}_{x \sim p}\left[ \lVert x \rVert_2^2 \right] \le \operatorname{tr}(\Sigma)",
        r"\underbrace{a + b}_{\text{the sum}} \quad \forall x \in \mathbb{R}^n",
    ],
)
def test_ordinary_formulas_are_mathml(latex):
    assert mathml(latex, "inline").startswith("<math")

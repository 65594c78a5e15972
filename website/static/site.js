// What scrolls sideways can be scrolled by the keyboard too: it takes the focus, and says what it is.
"use strict";

const WIDE = "article pre, .table-wrapper, .simulator .picture, .simulator .numbers, .formula, .output, .cell_output > *";

function letScroll() {
  const wide = document.querySelectorAll(WIDE);
  for (const element of wide) {
    const scrolls = element.scrollWidth > element.clientWidth + 1 &&
      ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
    if (scrolls && !element.hasAttribute("tabindex")) {
      element.tabIndex = 0;
      element.setAttribute("role", "group");
      element.setAttribute("aria-label", "scrolls sideways");
    }
  }
}

addEventListener("load", letScroll);
addEventListener("resize", letScroll);
// A folded cell has no width until it is opened.
document.addEventListener("toggle", letScroll, true);

// What scrolls sideways can be scrolled by the keyboard too: it takes the focus, and says what it is.
"use strict";

function letScroll() {
  const wide = document.querySelectorAll("article pre, .table-wrapper, .formula, .output, .cell_output > *");
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

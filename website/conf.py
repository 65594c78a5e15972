"""Settings of Sphinx for the site. `website.build` lays out the pages, and calls Sphinx with these."""

from pathlib import Path

HERE = Path(__file__).resolve().parent

project = "Efficient Deep Learning Systems"
author = "the course's authors"
copyright = "the course's authors; prose CC BY 4.0, code MIT"
html_title = project
extensions = ["myst_nb", "website.extension"]

# What is committed is what is shown: nothing runs.
nb_execution_mode = "off"
nb_number_source_lines = False
# A progress bar's widget cannot live on a page; its text can.
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
# Two math environments of one page may have one number; nobody refers to them.
myst_dmath_double_inline = True

html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_js_files = [("site.js", {})]
html_copy_source = False  # the text of pages is in the repository
html_show_sourcelink = False
html_use_index = False
html_last_updated_fmt = None
html_theme_options = {
    "navigation_with_keys": False,
    # The house colours of effdl.plots, dark enough for text on white and light enough on black.
    "light_css_variables": {"color-brand-primary": "#00598c", "color-brand-content": "#00598c"},
    "dark_css_variables": {"color-brand-primary": "#6cb8ee", "color-brand-content": "#6cb8ee"},
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

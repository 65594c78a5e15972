"""A stranger's HTML, Markdown and files, made harmless for a browser. Knows no course."""

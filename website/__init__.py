"""The course as a site: `make site`. See README.md."""

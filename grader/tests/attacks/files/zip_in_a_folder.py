"""Hands in a zip file within the folder that the course system made, as Moodle does.

Must: get full credit.
"""

import zipfile

FAMILY = "accident"
STOCK = "a zip file is for the collector"
DESERVES = {"lab": 7, "part": 4}
NAMES = r"(?:[^_]+_)?(?P<student>zip_in_a_folder|.*-next)(?:_assignsubmission_file)?"


def make(folder, right):
    place = folder.with_name(f"Jane Doe_{folder.name}_assignsubmission_file")
    place.mkdir()
    with zipfile.ZipFile(place / "Мой архив.zip", "w") as archive:
        for name, text in right.items():
            archive.writestr(f"hw/{name}", text)

"""Write the dashboards: `python -m dashboards`."""

from __future__ import annotations

from dashboards.build import FOLDER, dashboards, written

if __name__ == "__main__":
    for name, dashboard in dashboards().items():
        (FOLDER / name).write_text(written(dashboard), "utf-8")

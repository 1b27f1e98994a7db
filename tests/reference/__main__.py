"""Write the tracked figures from build/flow/report.json, and the pages that show them."""

import json
import re
import sys
from pathlib import Path

from narrowgauge import api
from tests.reference import (
    PAGES,
    REFERENCE,
    SHOWN,
    cost_row,
    record_baseline,
    reduce,
)
from tests.reference.pages import update


def main() -> None:
    """Take the report named on the command line, or the flow's."""
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "build/flow/report.json")
    data = reduce(json.loads(source.read_text(encoding="utf-8")))
    REFERENCE.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    update(SHOWN)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for point in api.points(page.stem):
            row = re.compile(rf"^\| `{re.escape(point.full_name)}` \|.*$", re.M)
            text = row.sub(cost_row(point.full_name), text)
        page.write_text(text, encoding="utf-8")
    record_baseline()


if __name__ == "__main__":
    main()

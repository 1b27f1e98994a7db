"""Write the tracked figures and the README's table from build/flow/report.json; and the pages."""

import json
import re
import sys
from pathlib import Path

from narrowgauge import api
from tests.reference import (
    BEGIN,
    END,
    PAGES,
    README,
    REFERENCE,
    cost_row,
    record_baseline,
    reduce,
    render,
)


def main() -> None:
    """Take the report named on the command line, or the flow's."""
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "build/flow/report.json")
    data = reduce(json.loads(source.read_text(encoding="utf-8")))
    REFERENCE.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    head, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    README.write_text(f"{head}{BEGIN}\n{render(data)}\n{END}{tail}", encoding="utf-8")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for point in api.points(page.stem):
            row = re.compile(rf"^\| `{re.escape(point.full_name)}` \|.*$", re.M)
            text = row.sub(cost_row(point.full_name), text)
        page.write_text(text, encoding="utf-8")
    record_baseline()


if __name__ == "__main__":
    main()

"""Write docs/messages.md anew."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tools.messages.answers import answers, read_cases
from tools.messages.page import PAGE, page
from tools.messages.scene import write_scene


def main() -> int:
    """Write the page; return 1, with a line for each case in which owseg does not answer as it should."""
    with tempfile.TemporaryDirectory() as place:
        found = list(answers(read_cases(), write_scene(Path(place))))
    PAGE.write_text(page(found))
    wrong = [line for answer in found for line in answer.wrong()]
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

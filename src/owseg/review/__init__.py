"""Review: pages in the browser on which a person turns unknown regions into a class (``owseg review``).

Without a browser: ``desk.py`` is what a page shows of a queue, ``lesson.py`` learning and undoing it, ``guard.py`` who
may ask, ``files.py`` the images and masks. Drawn with NiceGUI: ``tiles.py`` all groups, ``group.py`` one of them with
its ``editor.py`` (``editor.js``) and ``teaching.py``, ``learned.py`` what a lesson changed; ``frame.py`` is what they
have in common, ``pages.py`` where they lie, and ``serve.py`` serves them.
"""

from __future__ import annotations

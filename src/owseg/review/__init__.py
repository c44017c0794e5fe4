"""Review: a page in the browser on which a person turns unknown regions into a class (``owseg review``).

``desk.py`` is what the page shows of a queue, ``lesson.py`` learning and undoing it, ``guard.py`` who may ask; all
without a browser. ``page.py`` draws it with NiceGUI, ``editor.js`` is the picture on which masks are corrected.
"""

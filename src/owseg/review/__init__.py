"""Review: pages in the browser on which a person turns unknown regions into a class (``owseg review``).

Free of a browser: ``state.py`` has what the pages show of a queue, ``open_group.py`` one group and what a reviewer does
with it, ``session.py`` learning a class and undoing it, ``files.py`` images and masks over HTTP. Drawn with NiceGUI:
``tiles_page.py`` all groups, ``group_page.py`` one of them with its ``editor.py`` (``static/editor.js``) and
``learn_panel.py``, ``learned_page.py`` the images before and after learning; ``frame.py`` has what is common to all,
``pages.py`` their addresses, and ``serve.py`` serves them.
"""

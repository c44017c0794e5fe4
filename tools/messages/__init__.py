"""The page of messages: what owseg answers to the likeliest mistakes in each command.

    python -m tools.messages    # write docs/messages.md anew

``cases.toml`` has the mistakes, ``scene`` the small files that the commands are given, ``answers`` runs the commands
through the real command line, in this process, and ``page`` writes what they answer. tests/tools/test_messages.py
compares the page with the answers.
"""

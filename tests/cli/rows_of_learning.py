"""The rows of ``test_wiring.py`` about what is learned, corrected, forgotten, renamed and merged."""

from tests.support.commands import LEARN

SHOTS, CORRECT = "learn K cow --shots S", "correct K --known sky --shots S"
SAMPLE, SEQUENCE = "learners.sequence:sample_classes", "learners.sequence:learn_sequence"
CORRECTED = "learners.learn:correct"
LEARNING = [
    (SHOTS, "exchange.shots:read_shots", {"path": "S", "name": "cow", "images": None}),
    (f"{SHOTS} --images I", "exchange.shots:read_shots", {"images": "I"}),
    (SHOTS, SEQUENCE, {"kb": "K", "classes": [("cow", ["shot of cow in S"])], "known": None, "method": None}),
    (f"{SHOTS} --not N", SEQUENCE, {"classes": [("cow", ["shot of cow in S", "not it in N"])]}),
    (f"{SHOTS} --known folder:V", SEQUENCE, {"known": "folder:V/val"}),
    ("learn K cow,hen --queue Q", SEQUENCE, {"classes": [("cow", ["cow in Q"]), ("hen", ["hen in Q"])], "known": None}),
    ("learn K cow --queue Q", "discovery.queue_shots:shots_to_learn", {"queue": "Q", "name": "cow", "images": None}),
    (LEARN, SAMPLE, {"data": "folder:D/train", "names": ["cow"], "count": 5, "seed": 0, "top": 0.2}),
    (f"{LEARN} --split shots --count 2 --seed 5 --top 0.7", SAMPLE,
     {"data": "folder:D/shots", "count": 2, "seed": 5, "top": 0.7}),
    (LEARN, SEQUENCE, {"classes": ["cow"], "known": "folder:D/val"}),
    (f"{LEARN} --known folder:V", SEQUENCE, {"known": "folder:V/val"}),
    (f"{LEARN} --method npm --set radius=4 --set a=b", SEQUENCE, {"method": "npm with {'radius': '4', 'a': 'b'}"}),
    ("learn K cow,hen --data folder:D --count 2 --seed 5 --top 0.7 --manifest none.json",
     "learners.sequence:write_manifest", {"path": "none.json", "classes": ["cow", "hen"], "data": "folder:D/train",
      "rule": {"count": 2, "seed": 5, "top": 0.7}}),
    ("learn K cow,hen --data folder:D -o O", "learners.sequence:save_stages",
     {"base": "K", "stages": [], "directory": "O", "slim": False}),
    ("learn K cow,hen --data folder:D -o O", "save", {"kb": "cow learned", "directory": "O"}),
    ("learn K hen --data folder:D -o O", "save", {"kb": "hen learned", "directory": "O"}),
    (CORRECT, "exchange.shots:read_shots", {"path": "S", "name": "sky", "images": None}),
    (f"{CORRECT} --images I", "exchange.shots:read_shots", {"images": "I"}),
    (CORRECT, CORRECTED, {"kb": "K", "name": "sky", "shots": ["shot of sky in S"], "method": None, "known": None}),
    (f"{CORRECT} --not N", CORRECTED, {"shots": ["shot of sky in S", "not it in N"]}),
    ("correct K --known sky --queue Q", CORRECTED, {"shots": ["sky in Q"]}),
    ("correct K --known sky --queue Q", "discovery.queue_shots:shots_to_correct", {"queue": "Q", "kb": "K"}),
    (f"{CORRECT} --method npm --set radius=4", CORRECTED, {"method": "npm with {'radius': '4'}"}),
    (f"{CORRECT} -o O --slim", "learners.sequence:save_stages", {"base": "K", "directory": "O", "slim": True}),
    (f"{CORRECT} -o O --slim", "save", {"kb": "K with sky", "directory": "O", "slim": True}),
    ("push K me/a", "knowledge.upload:push",
     {"kb": "K", "repository": "me/a", "licence": "other", "private": True, "slim": False}),
    ("push K me/a --licence mit --public --slim", "knowledge.upload:push",
     {"licence": "mit", "private": False, "slim": True}),
    ("push K me/a --folder F --licence mit --slim", "knowledge.upload:write",
     {"kb": "K", "folder": "F", "repository": "me/a", "licence": "mit", "slim": True}),
    ("forget K cow", "knowledge.editing:forget", {"kb": "K", "name": "cow"}),
    ("rename K cow ox", "knowledge.editing:rename", {"kb": "K", "old": "cow", "new": "ox"}),
    ("merge K cow ox", "knowledge.editing:merge", {"kb": "K", "a": "cow", "b": "ox", "name": None}),
    ("merge K cow ox --as cattle", "knowledge.editing:merge", {"name": "cattle"}),
    *((f"{line} -o O --slim", "save", {"kb": f"K {made}", "directory": "O", "slim": True}) for line, made in (
        ("forget K cow", "without cow"), ("rename K cow ox", "with ox"), ("merge K a b --as c", "with c"))),
    *((f"{line} -o O", "learners.sequence:save_stages", {"base": "K", "directory": "O"})
      for line in ("forget K cow", "rename K cow ox", "merge K a b")),
    *((f"{line} {option}", "cli._editing:on_newest", {"kb": "K", "target": "K", "base": "K", "rebase": wanted})
      for line in ("forget K cow", "rename K cow ox", "merge K a b")
      for option, wanted in (("--rebase", True), ("--no-rebase", False))),
]  # fmt: skip

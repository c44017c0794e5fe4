"""``owseg list``: the knowledge bases that come with the package."""

from __future__ import annotations

from dataclasses import asdict

from owseg.cli._options import Json
from owseg.cli._printing import next_command, print_json


def list_(as_json: Json = False) -> None:
    """List the knowledge bases that come with owseg: what each is for, its classes and size."""
    from owseg.knowledge.pretrained import shipped_cards

    cards = shipped_cards()
    if as_json:
        print_json({card.name: asdict(card) for card in cards})
        return
    for card in cards:
        print(f"{card.name}  {card.text}")
        print(f"    classes  {', '.join(card.classes)}")
        print(f"    size     {card.stored_bytes / 1e6:.1f} MB; images are resized to {card.size} pixels, shorter side")
    print(next_command("predict", "--kb", cards[0].name, "IMAGES"))

"""``owseg info``: what a knowledge base is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from owseg.cli._options import KB, Json
from owseg.cli._printing import print_json, say

if TYPE_CHECKING:
    from owseg.knowledge.base import KnowledgeBase


def info(kb: KB, as_json: Json = False) -> None:
    """Show what a knowledge base is: its classes, score, threshold and calibration, network, and versions."""
    from owseg.knowledge.load import load
    from owseg.knowledge.pretrained import resolve
    from owseg.knowledge.repository import PREFIX
    from owseg.knowledge.versions import has_version, version_history

    base = load(kb)
    # A published network, such as hf:NAME, has no versions.
    place = kb if ":" in kb and not kb.startswith(PREFIX) else resolve(kb)
    numbers = {v.number: v.current for v in version_history(place)} if has_version(place) else {}
    facts = {"kb": kb, "version": next((n for n, current in numbers.items() if current), None),
             "versions": list(numbers), **describe(base)}  # fmt: skip
    if as_json:
        print_json(facts)
        return
    for name, text in lines(facts):
        say(f"{name:12} {text}")


def describe(kb: KnowledgeBase) -> dict[str, Any]:
    """Return what a knowledge base is, as plain JSON; ``calibration`` has the data of the last calibration."""
    from owseg.knowledge.event import last_calibration

    network = kb.network
    return {
        "classes": list(kb.base_classes),
        "learned": list(kb.learned_classes),
        "network": {
            "backbone": network.backbone.kind,
            "decoder": network.decoder.title,
            "classifier": network.classifier.config["kind"],
            "parameters": sum(p.numel() for p in network.parameters()),
            "residual": kb.residual is not None,
        },
        "scorer": kb.scorer,
        "scorers": list(kb.scorers),
        "fitted": list(kb.fitted),
        "threshold": kb.threshold.to_json() if kb.threshold else None,
        "obstacles": kb.obstacles.to_json() if kb.obstacles else None,
        "calibration": last_calibration(kb.history, kb.scorer) if kb.threshold else None,
        "history": [f"{event.when} {event.message}" for event in kb.history],
    }


def lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the same for people: a name and a text for each line."""
    from owseg.openset import Threshold

    network, threshold, calibration = facts["network"], facts["threshold"], facts["calibration"] or {}
    version = "not stored" if facts["version"] is None else f"version {facts['version']} of {len(facts['versions'])}"
    decision = "not calibrated; run owseg calibrate"
    if threshold is not None:
        decision = f"unknown where {facts['scorer']} > {Threshold.from_json(threshold)}"
        share = f"{threshold['achieved_fpr']:.1%} of the known pixels ({threshold['target_fpr']:.1%} asked)"
        data = f"on {calibration.get('data', 'unknown data')}"
        match calibration:  # whatever somebody's knowledge base says there
            case {"marked": {"data": marked}}:
                data += f" and {marked}"
        images = f"{threshold['images']} images"
    residual = ", with a residual pattern" if network["residual"] else ""
    parts = f"{network['backbone']}, {network['decoder']}, {network['classifier']}{residual}"
    found = [
        (facts["kb"], version),
        ("classes", ", ".join(facts["classes"])),
        ("learned", ", ".join(facts["learned"]) or "none"),
        ("network", f"{parts}; {network['parameters'] / 1e6:.1f} M parameters"),
        ("decision", decision),
    ]
    if threshold is not None:
        since = ", before it was moved" if threshold.get("estimated") else ""
        found.append(("calibration", f"{threshold['method']} {data}, {images}: {share} above the threshold{since}"))
    if threshold is not None and (regions := threshold.get("regions")):
        alarms = f"{regions['achieved']:.2f} false alarms per image ({regions['target']:g} asked)"
        found.append(("regions", f"of evidence above {regions['value']:.4g}: {alarms}"))
    if (obstacles := facts["obstacles"]) is not None:
        share = f"{obstacles['achieved_fpr']:.1%} of the known pixels on the road"
        found.append(("obstacles", f"where the score on the road > {Threshold.from_json(obstacles)}: {share}"))
    found.append(("scorers", ", ".join(facts["scorers"])))
    return [*found, *(("history" if i == 0 else "", text) for i, text in enumerate(facts["history"]))]

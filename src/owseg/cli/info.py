"""``owseg info``: what a knowledge base is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from owseg.cli._compute import Compute, is_export
from owseg.cli._options import Json, KBOrExport
from owseg.cli._printing import print_json, say

if TYPE_CHECKING:
    from owseg.inference.runtime import ExportedModel
    from owseg.knowledge.base import KnowledgeBase
    from owseg.knowledge.model import Model


def info(kb: KBOrExport, as_json: Json = False) -> None:
    """Show what a knowledge base, or an export, is: its classes, score, threshold and calibration, and versions."""
    from owseg.knowledge.load import load

    base = Compute().open(kb) if is_export(kb) else load(kb)
    # A published network, such as hf:NAME, has no versions, nor has an export.
    numbers = {} if is_export(kb) else versions_of(kb)
    facts = {"kb": kb, "version": next((n for n, current in numbers.items() if current), None),
             "versions": list(numbers), **describe(base)}  # fmt: skip
    if as_json:
        print_json(facts)
        return
    for name, text in lines(facts):
        say(f"{name:12} {text}")


def versions_of(kb: str) -> dict[int, bool]:
    """Return the numbers of the versions of a knowledge base, and which one is current."""
    from owseg.knowledge.pretrained import resolve
    from owseg.knowledge.repository import PREFIX
    from owseg.knowledge.versions import has_version, version_history

    place = kb if ":" in kb and not kb.startswith(PREFIX) else resolve(kb)
    return {v.number: v.current for v in version_history(place)} if has_version(place) else {}


def describe(kb: Model) -> dict[str, Any]:
    """Return what a model is, as plain JSON; ``calibration`` has the data of the last calibration.

    An export has an "export" in place of the "network": what its file says of how it was made.
    """
    from owseg.knowledge.base import KnowledgeBase
    from owseg.knowledge.event import last_calibration

    known = set(kb.learned_classes)
    return {
        "classes": [name for name in kb.labels.names if name not in known],
        "learned": list(kb.learned_classes),
        **(of_network(kb) if isinstance(kb, KnowledgeBase) else of_export(cast("ExportedModel", kb))),
        "scorer": kb.scorer,
        "scorers": list(kb.scorers),
        "threshold": kb.threshold.to_json() if kb.threshold else None,
        "calibration": last_calibration(kb.history, kb.scorer) if kb.threshold else None,
        "history": [f"{event.when} {event.message}" for event in kb.history],
    }


def of_network(kb: KnowledgeBase) -> dict[str, Any]:
    """Return what a knowledge base alone has: its network, fitted scorers, and threshold of obstacles."""
    network = kb.network
    about = {
        "backbone": network.backbone.kind,
        "decoder": network.decoder.title,
        "classifier": network.classifier.config["kind"],
        "parameters": sum(p.numel() for p in network.parameters()),
        "residual": kb.residual is not None,
    }
    obstacles = kb.obstacles.to_json() if kb.obstacles else None
    return {"network": about, "fitted": list(kb.fitted), "obstacles": obstacles}


def of_export(model: ExportedModel) -> dict[str, Any]:
    """Return what the file of an export says of how it was made."""
    names = ("fingerprint", "owseg", "precision", "size", "working_size", "licence")
    return {"export": {"runs_in": model.session.title, **{name: model.facts[name] for name in names}}}


def lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the same for people: a name and a text for each line."""
    from owseg.openset import Threshold

    threshold, calibration = facts["threshold"], facts["calibration"] or {}
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
    found = [
        (facts["kb"], "an export" if "export" in facts else version),
        ("classes", ", ".join(facts["classes"])),
        ("learned", ", ".join(facts["learned"]) or "none"),
        export_line(facts["export"]) if "export" in facts else network_line(facts["network"]),
        ("decision", decision),
    ]
    if threshold is not None:
        since = ", before it was moved" if threshold.get("estimated") else ""
        found.append(("calibration", f"{threshold['method']} {data}, {images}: {share} above the threshold{since}"))
    if threshold is not None and (regions := threshold.get("regions")):
        alarms = f"{regions['achieved']:.2f} false alarms per image ({regions['target']:g} asked)"
        found.append(("regions", f"of evidence above {regions['value']:.4g}: {alarms}"))
    if (obstacles := facts.get("obstacles")) is not None:
        share = f"{obstacles['achieved_fpr']:.1%} of the known pixels on the road"
        found.append(("obstacles", f"where the score on the road > {Threshold.from_json(obstacles)}: {share}"))
    found.append(("scorers", ", ".join(facts["scorers"])))
    return [*found, *(("history" if i == 0 else "", text) for i, text in enumerate(facts["history"]))]


def network_line(network: dict[str, Any]) -> tuple[str, str]:
    """Return the line of a network: its parts, and how large it is."""
    residual = ", with a residual pattern" if network["residual"] else ""
    parts = f"{network['backbone']}, {network['decoder']}, {network['classifier']}{residual}"
    return "network", f"{parts}; {network['parameters'] / 1e6:.1f} M parameters"


def export_line(export: dict[str, Any]) -> tuple[str, str]:
    """Return the line of an export: for which images it is, and of what it was made."""
    size = "images of any size" if export["size"] == "dynamic" else f"images of {export['size']} (HxW)"
    working = f", resized to {export['working_size']} pixels" if export["working_size"] else ""
    of = f"of the knowledge base {export['fingerprint']}, by owseg {export['owseg']}"
    return "export", f"{export['precision']}, run in {export['runs_in']}, for {size}{working}; {of}"

"""The command line for users' own models: add a checkpoint, and check that all models open."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from core.errors import ParallaxError
from core.models.own import Proposal, add_model, free_id, propose, tried
from core.models.spec import INTERPOLATIONS, catalog_problem, own_models, own_models_file
from core.models.stated import id_of

DESCRIPTION = (
    "Add a checkpoint to your own models: architecture, labels and preprocessing are detected as "
    "far as the file and the files beside it allow, and the model is tried with one picture."
)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    found = argparse.ArgumentParser(prog="python -m core.models", description=DESCRIPTION)
    commands = found.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="try a checkpoint and write it into models.toml")
    more = adding.add_argument
    more("path", help="a file, a folder written by save_pretrained, or hf-hub:owner/name")
    more("--architecture", help="a name in timm, torchvision/NAME or transformers/NAME")
    more(
        "--labels", help="a text file with one class per line, or the name of a list in data/labels"
    )
    more("--id", help="id of the model in addresses (default: the name of the file)")
    more("--title", help="title shown to users")
    more("--entry", help="which of several sets of weights in the file to take")
    more("--head", help="a second file, whose tensors replace those of the first")
    more("--mean", type=float, nargs="+", help="one value, or one for each channel")
    more("--std", type=float, nargs="+", help="the same")
    more("--input-size", type=int, help="side in pixels at which the model is evaluated")
    more("--crop-fraction", type=float, help="share of the resized side that is kept")
    more("--interpolation", choices=INTERPOLATIONS, help="filter of the resize")
    more(
        "--squash",
        action="store_true",
        default=None,
        help="squeeze pictures instead of cropping them",
    )
    more("--answer", choices=("softmax", "sigmoid"), help="how logits become probabilities")
    more("--pretraining", help="training data, as shown to users")
    more("--dry-run", action="store_true", help="only print what would be added")
    commands.add_parser("check", help="open every model of models.toml and print the result")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    given = vars(parser().parse_args(arguments))
    command, dry = given.pop("command"), given.pop("dry_run", False)
    try:
        return _check() if command == "check" else _add(given.pop("path"), given, dry)
    except ParallaxError as error:
        print(error, file=sys.stderr)
        return 2


def _add(path: str, given: dict[str, Any], dry: bool) -> int:
    stated = {key: value for key, value in given.items() if value is not None}
    for key in ("mean", "std"):
        if len(stated.get(key, ())) == 1:
            stated[key] = stated[key][0]
    stated.setdefault("id", free_id(id_of(path)))
    proposal = propose(path, **stated)
    _tell(proposal)
    file = own_models_file()
    print(f"\n{proposal.table(file)}")
    if dry:
        print(f"Nothing was written; without --dry-run this would be added to {file}.")
    else:
        print(f"Added to {add_model(proposal, file)}.")
    return 0


def _check() -> int:
    """Open all models; 1 if any of them cannot be opened."""
    if problem := catalog_problem():
        print(problem, file=sys.stderr)
        return 2
    found, failed = own_models(), 0
    for spec in found:
        try:
            print(f"{spec.id}: ", end="")
            _tell(tried(spec))
        except ParallaxError as error:
            failed += 1
            print(error)
    print(f"{len(found) - failed} of {len(found)} models in {own_models_file()} open.")
    return 1 if failed else 0


def _tell(proposal: Proposal) -> None:
    print(f"{proposal.text}.")
    print(f"  {proposal.preprocessing.text}")
    for remark in proposal.remarks:
        print(f"  {remark}")

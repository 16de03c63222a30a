#!/usr/bin/env python3
"""Decodes every vector of a manifest with the reference decoder: python3 check_vectors.py test_vectors/manifest.json

test_vectors/README.md tells what a manifest is. Says what differs, and fails if anything does.
"""

import json
import sys
from pathlib import Path

import huffwire_delta
import huffwire_reference as reference


def differs(path, data):
    """What is wrong with some decoded bytes, or None."""
    expected = path.read_bytes()
    if len(data) != len(expected):
        return f"{len(data)} bytes instead of {len(expected)}"
    place = next((place for place, pair in enumerate(zip(data, expected)) if pair[0] != pair[1]), None)
    return None if place is None else f"byte {place} differs"


def decode_message(folder, vector, data, known):
    """The elements of a message; a delta comes with its base."""
    context = vector.get("context")
    if "base" in vector:
        return huffwire_delta.decode_delta(data, known, (folder / vector["base"]).read_bytes(), context)
    return reference.decode_message(data, known, context).data


def check_vector(folder, vector, sets):
    """What is wrong with a vector, or None. `sets` remembers the sets that were read."""
    data = (folder / vector["file"]).read_bytes()
    for path in vector["sets"]:
        if path not in sets:
            sets[path] = reference.read_set((folder / path).read_bytes())
    known = [sets[path] for path in vector["sets"]]
    try:
        if vector["kind"] == "message":
            decoded = decode_message(folder, vector, data, known)
            result = None if "error" in vector else differs(folder / vector["output"], decoded)
        elif vector["kind"] == "file":
            bases = {name: (folder / path).read_bytes() for name, path in vector.get("bases", {}).items()}
            originals = huffwire_delta.decode_file(data, known, bases)
            expected = vector.get("originals", {})
            result = None if list(originals) == list(expected) else f"originals {list(originals)}"
            for name in expected:
                result = result or differs(folder / expected[name], originals[name])
        else:
            result = None if reference.read_set(data).id().hex() == vector.get("id") else "another id"
    except reference.FormatError as error:
        if vector.get("error") not in (error.name, "any"):
            return f"{error.name}: {error}"
        return None
    return f"it was read, error {vector['error']} was expected" if "error" in vector else result


def check_manifest(path):
    """The number of vectors, and what is wrong with them."""
    path = Path(path)
    manifest = json.loads(path.read_text(encoding="utf-8"))
    sets, failures = {}, []
    for vector in manifest["vectors"]:
        result = check_vector(path.parent, vector, sets)
        if result:
            failures.append(f"{vector['name']}: {result}")
    return len(manifest["vectors"]), failures


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: check_vectors.py MANIFEST")
    number, failures = check_manifest(sys.argv[1])
    print("\n".join([*failures, f"{number} vectors, {len(failures)} failures"]))
    sys.exit(bool(failures))

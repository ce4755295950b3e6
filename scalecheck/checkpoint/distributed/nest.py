"""The dict that was saved, from the paths to what it holds: texts are keys of dicts, and integers
places in lists. A dict that was empty has no path: that of an optimizer without a state yet, or of
one that keeps none, is put beside its groups."""

from collections.abc import Iterable

from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.report.formatting import excerpt

Part = str | int
Path = tuple[Part, ...]


class _Branch(dict[str, tuple[Part, object]]):
    """A dict or list that is built, by the texts of its keys."""

    def plain(self) -> dict[object, object] | list[object]:
        """A list where all keys are places, in the order of these."""
        places = [(part, leaf) for part, leaf in self.values() if isinstance(part, int)]
        if len(places) == len(self):
            return [leaf for _, leaf in sorted(places, key=lambda place: place[0])]
        table: dict[object, object] = {str(part): leaf for part, leaf in self.values()}
        if isinstance(table.get("param_groups"), list):
            table.setdefault("state", {})
        return table


def nested(leaves: Iterable[tuple[Path, object]]) -> dict[object, object]:
    """The dict of some leaves by their paths, which start with texts. Raises Malformed where one
    lies in another."""
    root = _Branch()
    made: list[tuple[_Branch, Part, _Branch]] = []
    for path, leaf in leaves:
        branch = root
        for depth, part in enumerate(path[:-1], 1):
            _, inside = branch.get(text_key(part), (part, None))
            if inside is None:
                inside = _Branch()
                branch[text_key(part)] = part, inside
                made.append((branch, part, inside))
            if not isinstance(inside, _Branch):
                raise Malformed(f"has {_words(path)} inside of {_words(path[:depth])}")
            branch = inside
        if text_key(path[-1]) in branch:
            raise Malformed(f"has {_words(path)} twice")
        branch[text_key(path[-1])] = path[-1], leaf
    for outer, part, inside in reversed(made):
        outer[text_key(part)] = part, inside.plain()
    plain = root.plain()
    return plain if isinstance(plain, dict) else {}


def _words(path: Path) -> str:
    return excerpt(".".join(map(str, path)))

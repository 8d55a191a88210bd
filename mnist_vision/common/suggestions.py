"""Suggest words for a mistyped one."""

import difflib
from collections.abc import Iterable


def similar(word: str, known: Iterable[str], separator: str = "/") -> str:
    """Suggest the known word that is most similar to an unknown one.

    Args:
        word: The unknown word.
        known: The known words.
        separator: Separates the parts of a word; the last part is also compared alone.

    Returns:
        Text to append to "unknown WORD"; empty if no word is similar.
    """
    known = list(known)
    matches = difflib.get_close_matches(word, known, n=1)
    if not matches:
        leaves = {each.rpartition(separator)[2]: each for each in reversed(known)}
        leaf = word.rpartition(separator)[2]
        matches = [leaves[match] for match in difflib.get_close_matches(leaf, leaves, n=1)]
    return f"; did you mean {matches[0]}?" if matches else ""

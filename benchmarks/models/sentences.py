"""Fifty sentences of our own, from one word to more tokens than a tile of 128 rows has."""

from __future__ import annotations

_SHORT = (
    "Hello",
    "Yes.",
    "Mountains!",
    "Good morning",
    "Where is the station?",
    "The kettle is boiling.",
    "She sold her bicycle yesterday.",
    "Nobody answered the door.",
    "Prices rose again in March.",
    "The cat sleeps on the warm engine cover.",
    "A cat is lying on the bonnet of the car.",
    "Please send the invoice before Friday.",
    "His grandfather repaired clocks for a living.",
    "It has not rained here since the end of April.",
    "The museum opens at ten and closes at six.",
    "Two trains were late because of snow on the line.",
    "Water boils at a lower temperature on a mountain.",
    "The committee rejected the proposal by a single vote.",
    "Could you tell me how to get to the harbour from here?",
    "An apple a day keeps the doctor away, or so they say.",
    "E = mc² is the equation that everybody knows.",
    "Der Zug nach Arth-Goldau fährt um 9:15 Uhr ab.",
    "x = (a + b) * 3.14159 - f(y, z) / 2",
    "Quarterly revenue grew by 12.5 % to $3.4 billion.",
)
_MIDDLE = (
    "The old lighthouse had been dark for thirty years when the new owner found a letter behind one of its loose stones.",
    "To make the soup, fry an onion in butter, add six ripe tomatoes and a little stock, and let it simmer for half an hour.",
    "A refrigerator moves heat from the inside to the outside by letting a liquid evaporate in one place and condense in another.",
    "Although the first results were promising, the second trial could not confirm that the drug lowers blood pressure.",
    "The contract may be ended by either side with three months' notice, in writing, to the end of a calendar quarter.",
    "In the final minutes the visitors equalized from a corner, and the home team was glad when the referee blew his whistle.",
    "Memory on the chip is managed by the program: nothing is loaded that nobody asked for, and nothing is kept by chance.",
    "Our guide explained that the glacier has lost almost a third of its length since her grandmother first crossed it on foot.",
    "When the orchestra began to tune its instruments the audience fell silent, and even the children in the last row sat still.",
    "The function returns the index of the first element that is larger than the given value, or minus one if there is none.",
)
_CLAUSES = (
    "the river rises in a valley of granite",
    "it passes a village whose mill has not turned for a century",
    "a ferry carries walkers across in summer",
    "the meadows on the left bank are flooded every spring",
    "storks come back to the same chimney year after year",
    "a railway follows the water as far as the lake",
    "engineers have measured its level since 1868",
    "the lake is deep and cold, and full of trout",
    "beyond the dam the current is slow enough for barges",
    "in the old town three bridges cross it within a mile",
    "students row there before breakfast",
    "at last it meets a larger stream and loses its name",
)


def sentences() -> list[str]:
    """Twenty-four short ones, ten of middling length, sixteen long ones that join more and more clauses."""
    long = [_joined(start, 3 + start) for start in range(16)]
    return [*_SHORT, *_MIDDLE, *long]


def _joined(start: int, count: int) -> str:
    text = "; ".join(_CLAUSES[(start + k) % len(_CLAUSES)] for k in range(count))
    return text[0].upper() + text[1:] + "."

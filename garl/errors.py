"""The one exception that garl raises for a mistake that its user can mend."""

LONGEST = 1000


def printable(text: str) -> str:
    """`text` in one line that is safe to print: what a stranger's file says must not steer or fill the terminal."""
    if len(text) > LONGEST:  # the start names the thing, the end the remedy
        text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class GarlError(Exception):
    """Bad input: one clear sentence that names the thing and the remedy.

    The command line prints the sentence and exits with code 2; every other exception is a defect of ours.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence))

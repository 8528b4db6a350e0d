from garl.errors import LONGEST, GarlError, printable


def test_a_sentence_cannot_steer_the_terminal_nor_fill_it() -> None:
    assert str(GarlError("a\nb \x1b[2J é \udcff")) == r"a\nb \x1b[2J é \udcff"
    long = str(GarlError("the thing " + "x" * 10**6 + " the remedy"))
    assert len(long) <= LONGEST + 3
    assert (long[:9], long[-10:]) == ("the thing", "the remedy")
    assert printable("short") == "short"

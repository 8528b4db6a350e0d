"""The one exception that garl raises for a mistake that its user can mend."""


class GarlError(Exception):
    """Bad input: one clear sentence that names the thing and the remedy.

    The command line prints the sentence and exits with code 2; every other exception is a defect of ours.
    """

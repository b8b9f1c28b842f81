"""The one exception a user is meant to read."""


class UserError(ValueError):
    """Bad input or a bad surrounding: one sentence that says what is wrong and what would be right.

    Entry points print the message alone and exit with code 2; it never comes with a traceback.
    """

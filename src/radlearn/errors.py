"""The one kind of error that a user's input can cause."""


class InputError(Exception):
    """What was looked for, where, and what to do next, in one line.

    The command line prints it without a traceback and exits with status 2. Everything else that
    escapes is a fault of radlearn.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class UnreadableError(InputError):
    """A file that cannot be taken in; callers that walk many files set it aside and go on."""


def refuse_unless_positive(settings: object, *names: str) -> None:
    """Raise `InputError` where one of these settings is given and is not above 0.

    Args:
        settings: a command's config; a setting of None is not given.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise InputError(f"--{name.replace('_', '-')} must be above 0")

"""The errors that a user of the library can meet; each carries its exit code."""

__all__ = ["MismatchError", "MissingToolError", "NarrowgaugeError", "UsageError", "check_limits"]


class NarrowgaugeError(Exception):
    """Base of every error raised on purpose; its text is one line that names the bad value."""

    exit_code = 1


class MismatchError(NarrowgaugeError):
    """Hardware and golden model disagree, or a check could not be made at all."""

    exit_code = 1


class UsageError(NarrowgaugeError, ValueError):
    """The caller's request cannot be met: unknown name, impossible parameter, wrong array."""

    exit_code = 2


class MissingToolError(NarrowgaugeError):
    """A program or package that the request needs is not installed."""

    exit_code = 3


def check_limits(owner: object, **limits: tuple[int, int]) -> None:
    """Attributes of `owner` lie between a least and a most, else a `UsageError` for the first."""
    for name, (least, most) in limits.items():
        value = getattr(owner, name)
        if not least <= value <= most:
            raise UsageError(f"{name} must be {least}..{most}, got {value}")

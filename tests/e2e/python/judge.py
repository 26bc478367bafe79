"""What the scripts share."""


def refused(kind, call, *texts):
    """The call fails in this way, with these texts."""
    try:
        call()
    except kind as error:
        assert all(text in str(error) for text in texts), error
        return
    raise AssertionError("it succeeded")

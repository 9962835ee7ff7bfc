"""Commands that fail as they should."""


def assert_fails(result, *phrases):
    """Exit code 1, one message on standard error that holds every phrase, no traceback."""
    code, out, err = result
    assert code == 1, (out, err)
    assert err.count("error: ") == 1
    assert "Traceback" not in err
    for phrase in phrases:
        assert phrase in err, err

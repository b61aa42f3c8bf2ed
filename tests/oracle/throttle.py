"""A limit per second as a list of the moments when something was sent: no code of ours below it."""


def most_in_a_second(sent_at: list[float]) -> int:
    """The most moments that any half-open second [t, t + 1) holds; the fullest one begins at one of them.

    A second short of a nanosecond counts as one: the clocks of the path have no finer digit.
    """
    sent_at = sorted(sent_at)
    most = first = 0
    for last, moment in enumerate(sent_at):
        while moment - sent_at[first] >= 1.0 - 1e-9:
            first += 1
        most = max(most, last - first + 1)
    return most

"""What the screen says of what its keys do."""

from __future__ import annotations

from halfopen.present.language import tr, tr_n


def nothing_read() -> str:
    """A key that needs a reading came before the first one."""
    return tr("Nothing was read yet")


def one_at_a_time() -> str:
    """Something goes on already."""
    return tr("One thing at a time: wait until this is done")


def no_listener() -> str:
    """A key that needs a listener, without one."""
    return tr("No listener is selected")


def choose_first() -> str:
    """A key that needs a listener, in the table of namespaces."""
    return tr("Choose a listener first (Enter)")


def looking(seconds: float) -> str:
    """It is diagnosed."""
    return tr("looking for causes for {n} s", n=f"{seconds:g}")


def changing() -> str:
    """What was confirmed is carried out."""
    return tr("changing")


def planning() -> str:
    """A change is planned."""
    return tr("planning")


def counting() -> str:
    """A release is counted."""
    return tr("counting (nothing is changed)")


def nothing_changed() -> str:
    """It was not confirmed."""
    return tr("Nothing was changed")


def no_match(filter: str) -> str:
    """A release would find nothing."""
    return tr("No half-open connection matches ({filter}); another age?", filter=filter)


def release_these(count: int, filter: str) -> str:
    """The question before a release."""
    return tr_n(
        "Release {n:,} half-open connection ({filter})?",
        "Release {n:,} half-open connections ({filter})?",
        count,
        filter=filter,
    )


def spared(count: int) -> str:
    """Whom a release leaves alone."""
    return tr_n(
        "{n:,} is spared: its client answered, or may have",
        "{n:,} are spared: their clients answered, or may have",
        count,
    )


def no_change_proposed() -> str:
    """There is nothing to tune."""
    return tr("No finding proposes a change of a setting")


def all_set() -> str:
    """There is nothing left to tune."""
    return tr("Every value that a finding proposes is set already")


def change_this() -> str:
    """The question before a change."""
    return tr("Change this?")


def command_label() -> str:
    """Before the command that does what is asked."""
    return tr("Command")


def then_label() -> str:
    """Before the command that comes after that."""
    return tr("Then")


def press_again() -> str:
    """How the second step is made."""
    return tr(" (t again)")


def the_service() -> str:
    """Who reads, in the first line of the screen."""
    return tr("service")


def diagnose_of(netns: str) -> str:
    """The head of what `diagnose` says of a namespace."""
    return tr("diagnose") if netns == "self" else tr("diagnose of {netns}", netns=netns)


def released_title() -> str:
    """The head of what came of a release, where it takes more than a few lines."""
    return tr("release")


def changed_title() -> str:
    """The head of what came of a change of a setting."""
    return tr("tune")


def shows_only() -> str:
    """A change was asked for by somebody who may only look."""
    return tr("Only root can change anything from this screen")


def act_as_root() -> str:
    """How to change something from the screen."""
    return tr("run sudo halfopen top, or the command after Next with sudo")


def reads_itself(why: str) -> str:
    """The service runs, but this process may not ask it."""
    return tr("{why}. This screen reads the kernel itself", why=why)


# --- a replay ---------------------------------------------------------------------------------------------------------


def record_ends_early(problem: str) -> str:
    """Something is wrong with the end of the record."""
    return tr("The record ends early: {problem}", problem=problem)


def not_replayed() -> str:
    """Handshakes are counted live alone."""
    return tr("not recorded: handshakes are counted while a page is open")


def nothing_changes() -> str:
    """A key that would change something."""
    return tr("This is a replay: nothing is changed")


def recorded_in_part() -> str:
    """A reading that cannot be diagnosed."""
    return tr("This reading is recorded in part, or judged by other rules: it cannot be diagnosed again")


def diagnose_title() -> str:
    """The head of what `diagnose` would have said."""
    return tr("diagnose, as of then")


def sorted_by(column: str, *, reverse: bool) -> str:
    """The order of the rows was changed."""
    if reverse:
        return tr("Sorted by {column}, inverted", column=tr(column))
    return tr("Sorted by {column}", column=tr(column))

"""The words of the page itself: its headings, and what it says when something is amiss."""

from __future__ import annotations

from typing import Any, Final

from halfopen.present.language import CATALOGUES, ENGLISH, spoken, tr

LANGUAGES: Final = {ENGLISH: "English", "zh": "中文"}
"""The languages there are, each by its own name."""
assert set(CATALOGUES) < set(LANGUAGES)  # noqa: S101  (a catalogue without a name would not be offered)


def words(language: str) -> dict[str, Any]:
    """Every word of the page, by the name that its script has for it."""
    with spoken(language):
        return {
            "language": "zh-CN" if language == "zh" else "en",
            "languages": LANGUAGES,
            "now": tr("Now"),
            "history": tr("History"),
            "settings": tr("Settings"),
            "skip": tr("Skip to the content"),
            "theme": tr("Light or dark"),
            "language_word": tr("Language"),
            "namespace": tr("Network namespace"),
            "all_namespaces": tr("All network namespaces"),
            "half_open": tr("Half-open connections"),
            "causes": tr("Causes"),
            "evidence": tr("Evidence"),
            "ruled_out": tr("Ruled out"),
            "next": tr("Next"),
            "commands": tr("Commands that help"),
            "copy": tr("Copy"),
            "copied": tr("Copied"),
            "rates": tr("The last minute"),
            "per_second": tr("/s"),
            "most": tr("at most {n}", n="{n}"),
            "listeners": tr("Listeners"),
            "no_listeners": tr("Nothing listens here."),
            "all_rows": tr("Show all {n}", n="{n}"),
            "fewer_rows": tr("Show fewer"),
            "sources": tr("Sources"),
            "incidents": tr("Incidents"),
            "no_incidents": tr("No incident."),
            "missing": tr("This could not be read"),
            "hour": tr("Hour"),
            "day": tr("Day"),
            "month": tr("Month"),
            "span": tr("Period"),
            "rates_kept": tr("Rates a second"),
            "dropped": tr("dropped"),
            "cookies": tr("cookies"),
            "finished": tr("completed"),
            "accept_queue": tr("Waiting in accept queues"),
            "most_each": tr("the most in each {time}", time="{time}"),
            "average_each": tr("the average of each {time}", time="{time}"),
            "unwatched": tr("Where the line is missing, nothing was watched."),
            "actions": tr("Releases and changed settings"),
            "no_actions": tr("Nothing was released, and no setting changed."),
            "time": tr("Time"),
            "action": tr("Action"),
            "began": tr("Began"),
            "lasted": tr("Lasted"),
            "place": tr("Listener"),
            "cause": tr("Cause"),
            "peak": tr("Peak"),
            "released": tr("Released"),
            "goes_on": tr("{time}, goes on", time="{time}"),
            "incident": tr("Incident"),
            "back": tr("All incidents"),
            "seen": tr("Seen"),
            "done": tr("Done"),
            "came_of_it": tr("Outcome"),
            "setting": tr("Setting"),
            "value": tr("Value"),
            "does": tr("Meaning"),
            "recommended": tr("Recommended"),
            "idle": tr("does nothing for half-open connections here"),
            "as_it_should_be": tr("as it should be"),
            "reason_and_costs": tr("{reason}; costs: {cost}", reason="{reason}", cost="{cost}"),
            "change_by": tr("halfopen tune changes settings, and can undo it; this page changes nothing."),
            "connecting": tr("Connecting …"),
            "waiting": tr("Waiting for the first reading …"),
            "live": tr("Live"),
            "seconds": tr("{n} s", n="{n}"),
            "minutes": tr("{n} min", n="{n}"),
            "hours": tr("{n} h", n="{n}"),
            "stale": tr("The last reading is {time} old", time="{time}"),
            "lost": tr("No connection to the service; trying again"),
            "full": tr("Too many pages are open already; close one"),
            "out": tr("This page needs a link"),
            "out_why": tr(
                "A link works once, within two minutes. This browser has no session, or its session is over."
            ),
            "out_how": tr("On the host, run this command and open the link that it prints:"),
            "failed": tr("This could not be loaded: {why}", why="{why}"),
        }

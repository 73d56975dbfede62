"""The sentences of findings, one for each id, from its facts: a file a family. Importing this fills the registry.

The sentence of a cause that no family words is its title and its facts, each as the diagnosis tells it.
"""

from __future__ import annotations

from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.finding import Finding
from halfopen.present.findings import accepting as accepting
from halfopen.present.findings import closing as closing
from halfopen.present.findings import deferring as deferring
from halfopen.present.findings import losses as losses
from halfopen.present.findings import queues as queues
from halfopen.present.findings import reading as reading
from halfopen.present.findings import settings as settings
from halfopen.present.findings import traffic as traffic
from halfopen.present.findings.facts import phrases
from halfopen.present.findings.words import LEADS as LEADS
from halfopen.present.findings.words import SENTENCES as SENTENCES
from halfopen.present.findings.words import at as at
from halfopen.present.findings.words import lead as lead
from halfopen.present.findings.words import listener_name as listener_name
from halfopen.present.findings.words import named_before as named_before
from halfopen.present.findings.words import say as say
from halfopen.present.findings.words import sentence as sentence
from halfopen.present.language import tr


def by_facts(finding: Finding) -> tuple[str, str]:
    """The title of the cause, and the facts of the finding in words."""
    return tr(RULES[finding.id].title), phrases(finding.facts)


for _rule in RULES.values():
    if _rule.id not in SENTENCES and not _rule.note:
        lead(_rule.id)(by_facts)

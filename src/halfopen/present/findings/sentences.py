"""The sentences of findings, one for each id, from its facts: a file a family. Importing this fills the registry."""

from __future__ import annotations

from halfopen.present.findings import accepting as accepting
from halfopen.present.findings import closing as closing
from halfopen.present.findings import losses as losses
from halfopen.present.findings import queues as queues
from halfopen.present.findings import reading as reading
from halfopen.present.findings import settings as settings
from halfopen.present.findings import traffic as traffic
from halfopen.present.findings.words import LEADS as LEADS
from halfopen.present.findings.words import SENTENCES as SENTENCES
from halfopen.present.findings.words import at as at
from halfopen.present.findings.words import lead as lead
from halfopen.present.findings.words import listener_name as listener_name
from halfopen.present.findings.words import named_before as named_before
from halfopen.present.findings.words import say as say
from halfopen.present.findings.words import sentence as sentence

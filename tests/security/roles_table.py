"""Who may do what, as tables: what the tests hold the house against, and what docs/roles.md shows.

After a change: `python tests/security/roles_table.py` writes docs/roles.md anew.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "roles.md"


class May(StrEnum):
    """A cell."""

    YES = "yes"
    OWN = "own"  # what is another bank's is refused, item by item: `role_forbidden`
    NO = "-"  # the contract refuses the call: `role_forbidden`


ROLES = ("gateway", "connector", "bank-maker", "bank-checker", "supervisor", "auditor", "")
MSPS = ("BankOne", "BankTwo", "Supervisor")
_ALL = dict.fromkeys(ROLES[:-1], May.YES)
# Function: role: whether. A role that is not named may not. No row differs by MSP but by whose
# the object is: the contract can't tell which organisations are banks.
FUNCTIONS: dict[str, dict[str, May]] = {
    "SubmitIntents": {"gateway": May.YES},
    "SubmitReports": {"connector": May.OWN},
    "SubmitEvidence": dict.fromkeys(("gateway", "connector", "supervisor", "auditor"), May.YES),
    "TakeLease": {"connector": May.OWN},
    "ProposeRecords": {"bank-maker": May.YES},
    "DecideRecords": {"bank-checker": May.OWN},
    "CountersignRelations": {"supervisor": May.OWN},
    "EndRelations": {"supervisor": May.OWN},
    "SubmitClearing": {"bank-maker": May.OWN},
    "DecideSettlements": {"bank-checker": May.OWN},
    "SubmitRules": {"supervisor": May.OWN},
    "SubmitCheckpoints": {"supervisor": May.OWN},
    "GetPayments": _ALL,
    "GetRecords": _ALL,
    "ListPayments": _ALL,
    "ListProposals": _ALL,
    "ListRelations": _ALL,
    "ListSettlements": _ALL,
}
# Whose the objects are that the tests call about: a bank's, but for what the supervisor states.
OWNERS = dict.fromkeys(FUNCTIONS, "BankOne") | dict.fromkeys(
    ("CountersignRelations", "EndRelations", "SubmitRules", "SubmitCheckpoints"), "Supervisor"
)
# Organisational unit of a certificate that has the function's role: whether the peer lets it call.
UNITS: dict[str, bool] = {
    "client": True,
    "admin": True,
    "peer": False,
    "orderer": False,
    "gateway": False,  # a unit that Fabric does not know
}


def may(function: str, role: str) -> May:
    """The cell."""
    return FUNCTIONS[function].get(role, May.NO)


# What a peer or an orderer itself is asked, by whom. "admin", "client", "peer" and "no unit" are
# of the peer's own organisation, "other's" are another member's.
CALLERS = ("admin", "client", "peer", "other's admin", "other's client", "no unit")
PEER: dict[str, tuple[str, ...]] = {
    "join a channel (cscc JoinChain)": ("admin",),
    "install (_lifecycle InstallChaincode)": ("admin",),
    "see what is installed (_lifecycle QueryInstalledChaincodes)": ("admin",),
    "take a package out (_lifecycle GetInstalledChaincodePackage)": ("admin",),
    "approve (_lifecycle ApproveChaincodeDefinitionForMyOrg)": ("admin",),
    "see the approval (_lifecycle QueryApprovedChaincodeDefinition)": ("admin",),
    "endorse a commit (_lifecycle CommitChaincodeDefinition)": (
        "admin", "client", "other's admin", "other's client",
    ),
    "see channels (cscc GetChannels)": ("admin", "client", "peer"),
    "see the ledger's height (qscc GetChainInfo)": CALLERS[:-1],
    "read blocks (Deliver)": CALLERS[:-1],
    "read filtered blocks (DeliverFiltered)": CALLERS[:-1],
    "propose (Endorser ProcessProposal)": ("admin", "client", "other's admin", "other's client"),
    "have a transaction ordered (AtomicBroadcast Broadcast)": (
        "admin", "client", "other's admin", "other's client",
    ),
    "read blocks at the orderer (AtomicBroadcast Deliver)": CALLERS[:-1],
}  # fmt: skip


# At a gateway there are merchants and nobody else: certificates of the network count for nothing.
SIGNERS = (
    "the merchant",
    "its revoked key",
    "its key of a later day",
    "another merchant",
    "a stranger",
    "its acquirer's bank",
    "the gateway",
    "nobody",
)
_OPEN = dict.fromkeys(SIGNERS, "200")
_POST = {
    "the merchant": "201",
    "its revoked key": "key_revoked",
    "its key of a later day": "key_not_yet_valid",
    "another merchant": "key_unknown",
    "a stranger": "key_unknown",
    "its acquirer's bank": "key_unknown",
    "the gateway": "key_unknown",
    "nobody": "signature_invalid",
}
_READ = _POST | {"the merchant": "200", "nobody": "unauthenticated"}
REST: dict[str, dict[str, str]] = {
    "POST /v1/payments": _POST,
    "POST /v1/payments/batch": _POST,
    "GET /v1/payments/<order_no>": _READ,
    "GET /v1/payments/<order_no>/receipts": _READ,
    # Of a payment that there is not, which has none: who may ask is decided before.
    "POST /v1/payments/<order_no>/refunds": _POST | {"the merchant": "payment_unknown"},
    "GET /v1/payments/<order_no>/refunds": _READ,
    "GET /v1/payments/<order_no>/refunds/<refund_no>": _READ | {"the merchant": "refund_unknown"},
    "GET /v1/payments": _READ,
    "GET /v1/settlements": _READ,
    # Of one that there is not: the house's merchant has none yet.
    "GET /v1/settlements/<acquirer_id>/<merchant_code>/<currency>/<clearing_date>/<run>": (
        _READ | {"the merchant": "settlement_unknown"}
    ),
    "PUT /v1/webhooks/<webhook_id>": _POST,
    "DELETE /v1/webhooks/<webhook_id>": _POST | {"the merchant": "204"},
    "GET /v1/webhooks/<webhook_id>": _READ,
    "GET /v1/webhooks": _READ,
    "GET /v1/events": _READ,
    "GET /healthz": _OPEN,
    "GET /readyz": _OPEN,
    "GET /openapi.json": _OPEN,
    "GET /docs": _OPEN,
    "GET /problems": _OPEN,
    "GET /problems/<code>": _OPEN,
    "GET /v1/gateway": _OPEN,
    "GET /metrics": _OPEN,
}

# Whose TLS certificate a gateway's link hears of BankOne's acquirer.
LINK_USERS = (
    *("connector", "gateway", "maker", "checker", "supervisor", "supervisor2", "auditor", "admin"),
    "peer",
)
_BANKS_HAVE = ("connector", "gateway", "maker", "checker", "admin", "peer")
LINK_HAS = {
    "BankOne": _BANKS_HAVE,
    "BankTwo": _BANKS_HAVE,
    "Supervisor": ("supervisor", "supervisor2", "auditor", "admin", "peer"),
}


def heard(msp: str, user: str) -> bool:
    """Whether the link takes a report about BankOne's acquirer over this user's connection."""
    return (msp, user) == ("BankOne", "connector")


_HEAD = """# Who may do what

Made from `tests/security/roles_table.py`, and held against a running network by
`tests/security/test_roles_*.py`: each cell is a test. What the roles can do beyond what they may
is [trust.md](trust.md)'s.

Three things are checked, by three parties: the **peer** checks that a certificate is a member's
and what kind of node or user its organisational unit says; the **contract** checks organisation
and role (the certificate attribute `clearline.role`); and who signed what an item says - merchant,
acquiring bank - is checked by everybody.
"""
_CONTRACT = """
## The contract's functions

`yes` may; `own` may for what is its own organisation's - acquirer, payment through it, proposal -
and is refused for another's, item by item (`role_forbidden`); `-` is refused as a call
(`role_forbidden`), and not endorsed. Every row holds for each organisation, `Supervisor` too: which
organisations are banks, the contract can't tell ([trust.md](trust.md)). Relations are the
supervisor's own to countersign, rules and checkpoints its own to state: another organisation is
refused, whatever roles its CA gives.
"""
_UNITS_TEXT = """
The role counts only in a certificate of a user. With the function's role in it, a certificate of
this organisational unit:
"""
_PEER_TEXT = """
## Peers and orderers

Of one peer, and of the orderer. `other's` is a member's of another organisation; `no unit` a
certificate of the organisation's own CA with a unit that Fabric does not know. Who has a commit
endorsed still needs the approvals of a majority. A certificate of another CA, one that has expired,
and one that names another MSP than its CA's are refused everywhere
(`tests/security/test_hostile_fabric.py`).
"""
_LINK_TEXT = """
## The link from connectors, and the wallet's notices

A gateway's link asks a TLS client for its role, as the contract asks a submitter: by whose TLS
certificate a report about an acquirer of `BankOne` is heard. A certificate of no member's TLS CA,
or of a member whose CA the gateway does not name for its link, gets no connection.
"""
_NOTICES_TEXT = """
The door for the wallet's notices is another company's to knock at: any TLS client may connect, and
what counts is the wallet's Ed25519 signature, pinned in the connector's partner file, over kind,
path, body and a time within five minutes. A stranger's, an old one, an answer's for a notice's, an
altered body, none: refused (`tests/connector/test_wallet_adapter.py`). A notice taken is a hint as
well: it is held against the order before it ends a payment.
"""
_REST_TEXT = """
## A gateway's REST interface

By whose key signed the body, or the bearer token, *in the merchant's name*; the cell is the
answer's status, or its code when it is refused. Each gateway answers alike. A token for another
gateway is `unauthenticated`; another merchant's own token shows that merchant's payments only.
"""


def page() -> str:
    """docs/roles.md."""
    parts = [_HEAD, _CONTRACT]
    names = [role or "no role" for role in ROLES]
    rows = [
        [f"`{function}`", msp, *(_cell(may(function, role)) for role in ROLES)]
        for function in FUNCTIONS
        for msp in MSPS
    ]
    parts.append(_table(["function", "organisation", *names], rows))
    parts.append(_UNITS_TEXT)
    parts.append(_table(["unit", "may call"], [[u, "yes" if y else "-"] for u, y in UNITS.items()]))
    parts.append(_PEER_TEXT)
    peers = [
        [what, *("yes" if caller in callers else "-" for caller in CALLERS)]
        for what, callers in PEER.items()
    ]
    parts.append(_table(["", *CALLERS], peers))
    parts.append(_LINK_TEXT)
    link = [
        [user, *(_heard(msp, user) if user in LINK_HAS[msp] else "" for msp in MSPS)]
        for user in LINK_USERS
    ]
    parts.append(_table(["whose", *MSPS], link))
    parts.append(_NOTICES_TEXT)
    parts.append(_REST_TEXT)
    rest = [[f"`{what}`", *(cells[who] for who in SIGNERS)] for what, cells in REST.items()]
    parts.append(_table(["", *SIGNERS], rest))
    return "".join(parts)


def _cell(value: May) -> str:
    return value.value


def _heard(msp: str, user: str) -> str:
    return "yes" if heard(msp, user) else "-"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

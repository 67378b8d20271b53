"""A ledger in memory with the contract's rules for proposals: who, once, in order."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from clearline import canonical
from clearline.codes import Code, Outcome
from clearline.records import Proposal

SHOWN = {"entity": "entity_id", "account": "account_id", "merchant": "merchant_id"}
NEEDS = {
    "account": ("entity", "entity_id", Code.ENTITY_UNKNOWN),
    "merchant": ("account", "account_id", Code.ACCOUNT_UNKNOWN),
}


@dataclass
class Chain:
    """What the ledger holds, and every call made."""

    proposals: dict[str, Proposal] = field(default_factory=dict)
    records: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)

    def as_(self, person: str) -> "FakeContract":
        return FakeContract(self, person)


@dataclass
class FakeContract:
    """The contract as one person sees it: the desk's Ledger protocol."""

    chain: Chain
    person: str

    async def submit(self, function: str, *args: str | bytes) -> bytes:
        (argument,) = args
        self.chain.calls.append((self.person, function))
        items = canonical.loads(argument)
        one = self._propose if function == "ProposeRecords" else self._decide
        return canonical.dumps([one(item).to_json() for item in items])

    async def evaluate(self, function: str, *args: str | bytes) -> bytes:
        (argument,) = args
        self.chain.calls.append((self.person, function))
        asked = canonical.loads(argument)
        if function == "GetRecords":
            return canonical.dumps([self.chain.records.get((kind, i)) for kind, i in asked])
        assert function == "ListProposals"
        found = [
            asdict(proposal) | {"type": "proposal"}
            for name, proposal in sorted(self.chain.proposals.items())
            if asked["status"] in (None, proposal.status) and name > (asked["start_after"] or "")
        ]
        return canonical.dumps(found[: asked["limit"]])

    def _propose(self, item: dict[str, Any]) -> Outcome:
        name = item["proposal_id"]
        found = self.chain.proposals.get(name)
        if found is None:
            self.chain.proposals[name] = Proposal(
                name, item["kind"], item["body"], "proposed", "BankOne", self.person, ""
            )
            return self._outcome(Code.OK, name)
        same = (found.kind, found.body) == (item["kind"], item["body"])
        return self._outcome(Code.DUPLICATE if same else Code.CONFLICT, name)

    def _decide(self, item: dict[str, Any]) -> Outcome:
        name = item["proposal_id"]
        found = self.chain.proposals.get(name)
        if found is None:
            return Outcome(Code.PROPOSAL_UNKNOWN, ("proposal", name))
        status = "approved" if item["decision"] == "approve" else "rejected"
        if found.status != "proposed":
            code = Code.DUPLICATE if found.status == status else Code.PROPOSAL_DECIDED
            return self._outcome(code, name)
        if found.maker == self.person:
            return self._outcome(Code.SAME_PERSON, name)
        if status == "approved" and found.kind in NEEDS:
            kind, member, code = NEEDS[found.kind]
            if (kind, found.body[member]) not in self.chain.records:
                return self._outcome(code, name)
        if status == "approved" and found.kind in SHOWN:
            self.chain.records[(found.kind, found.body[SHOWN[found.kind]])] = found.body
        self.chain.proposals[name] = replace(found, status=status, checker=self.person)
        return self._outcome(Code.OK, name)

    def _outcome(self, code: Code, name: str) -> Outcome:
        return Outcome(code, ("proposal", name), self.chain.proposals[name].status, "", "ab" * 32)


def text(value: Any) -> str:
    return json.dumps(value)

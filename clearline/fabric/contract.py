"""A chaincode on a channel, seen from a client."""

from collections.abc import Sequence

from fabric_protos.gateway import gateway_pb2
from google.protobuf.message import DecodeError

from clearline.fabric.client import FabricClient
from clearline.fabric.commit import Commit, new_commit
from clearline.fabric.errors import CommitError
from clearline.fabric.identity import Signer
from clearline.fabric.proposal import Proposal, ProposalOptions, new_proposal
from clearline.fabric.transaction import Transaction

_NO_OPTIONS = ProposalOptions()


class Contract:
    """Evaluates and submits functions of one chaincode. Text arguments are sent as UTF-8."""

    def __init__(
        self, client: FabricClient, signer: Signer, channel_id: str, chaincode: str
    ) -> None:
        self._client = client
        self._signer = signer
        self.channel_id = channel_id
        self.chaincode = chaincode

    def new_proposal(
        self,
        function: str,
        args: Sequence[str | bytes] = (),
        options: ProposalOptions = _NO_OPTIONS,
    ) -> Proposal:
        """A proposal to be evaluated or endorsed."""
        encoded = [function.encode()]
        encoded += [arg.encode() if isinstance(arg, str) else arg for arg in args]
        return new_proposal(
            self._client,
            self._signer,
            self.channel_id,
            chaincode=self.chaincode,
            args=encoded,
            options=options,
        )

    def new_transaction(self, stored: bytes) -> Transaction:
        """The transaction whose to_bytes() was stored, signature included when it was signed.

        Raises ValueError when the bytes are something else.
        """
        try:
            prepared = gateway_pb2.PreparedTransaction.FromString(stored)
        except DecodeError as error:
            raise ValueError("not a stored transaction") from error
        return Transaction(self._client, self._signer, prepared)

    def new_commit(self, transaction_id: str) -> Commit:
        """Ask about a transaction of which only the id is known."""
        return new_commit(self._client, self._signer, self.channel_id, transaction_id)

    async def evaluate(self, function: str, *args: str | bytes) -> bytes:
        """Query one peer. Raises EvaluateError."""
        return await self.new_proposal(function, args).evaluate()

    async def submit(self, function: str, *args: str | bytes) -> bytes:
        """Endorse, submit and wait for the commit; the chaincode's answer.

        Raises EndorseError, SubmitError, CommitStatusError or CommitError.
        """
        transaction = await self.new_proposal(function, args).endorse()
        status = await (await transaction.submit()).status()
        if not status.successful:
            raise CommitError(transaction.transaction_id, status.code, status.block_number)
        return transaction.result

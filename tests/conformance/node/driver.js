'use strict';

// The official Node client behind JSON lines: one request a line on standard input, one answer a
// line on standard output, in whatever order they are done. The operations are described in
// ../conformance_clients.py; bytes are Base64.

const crypto = require('node:crypto');
const fs = require('node:fs');
const readline = require('node:readline');
const grpc = require('@grpc/grpc-js');
const { checkpointers, connect, signers } = require('@hyperledger/fabric-gateway');

const sessions = new Map();
const streams = new Map();
let opened = 0;

const b64 = (bytes) => Buffer.from(bytes).toString('base64');
const bytes = (text) => Buffer.from(text, 'base64');

function open(request) {
    const { identity, peer, tls } = request;
    const credentials = grpc.credentials.createSsl(
        fs.readFileSync(peer.tls_ca),
        fs.readFileSync(tls.key),
        fs.readFileSync(tls.certificate),
    );
    const client = new grpc.Client(peer.endpoint, credentials, {
        'grpc.ssl_target_name_override': peer.server_name,
        'grpc.max_receive_message_length': -1,
        'grpc.max_send_message_length': -1,
    });
    const key = identity.key && crypto.createPrivateKey(fs.readFileSync(identity.key));
    const certificate = new crypto.X509Certificate(fs.readFileSync(tls.certificate));
    const gateway = connect({
        client,
        identity: {
            mspId: identity.msp_id,
            credentials: fs.readFileSync(identity.certificate),
        },
        signer: key ? signers.newPrivateKeySigner(key) : undefined,
        tlsClientCertificateHash: crypto.createHash('sha256').update(certificate.raw).digest(),
    });
    sessions.set(request.session, { gateway, client });
    return {};
}

function options(request) {
    return request.deadline ? { deadline: Date.now() + request.deadline * 1000 } : {};
}

function gatewayOf(request) {
    return sessions.get(request.session).gateway;
}

function contractOf(request) {
    return gatewayOf(request).getNetwork(request.channel).getContract(request.chaincode);
}

function proposalOptions(request) {
    const transientData = {};
    for (const [name, value] of Object.entries(request.transient ?? {})) {
        transientData[name] = bytes(value);
    }
    return {
        arguments: request.args.slice(1),
        transientData,
        endorsingOrganizations: request.organizations,
    };
}

function proposal(request) {
    const gateway = gatewayOf(request);
    if (request.signature) {
        return gateway.newSignedProposal(bytes(request.bytes), bytes(request.signature));
    }
    if (request.bytes) {
        return gateway.newProposal(bytes(request.bytes));
    }
    return contractOf(request).newProposal(request.args[0], proposalOptions(request));
}

function prepared(made) {
    return {
        bytes: b64(made.getBytes()),
        digest: b64(made.getDigest()),
        tx_id: made.getTransactionId(),
    };
}

async function endorse(request) {
    const transaction = await proposal(request).endorse(options(request));
    return { ...prepared(transaction), result: b64(transaction.getResult()) };
}

async function submit(request) {
    const gateway = gatewayOf(request);
    const transaction = request.signature
        ? gateway.newSignedTransaction(bytes(request.bytes), bytes(request.signature))
        : gateway.newTransaction(bytes(request.bytes));
    return prepared(await transaction.submit(options(request)));
}

async function commitStatus(request) {
    const gateway = gatewayOf(request);
    const commit = request.signature
        ? gateway.newSignedCommit(bytes(request.bytes), bytes(request.signature))
        : gateway.newCommit(bytes(request.bytes));
    const status = await commit.getStatus(options(request));
    return {
        code: status.code,
        block: Number(status.blockNumber),
        tx_id: status.transactionId,
    };
}

async function checkpointer(request) {
    if (request.file) {
        return checkpointers.file(request.file);
    }
    const memory = checkpointers.inMemory();
    if (request.after) {
        await memory.checkpointTransaction(BigInt(request.after.block), request.after.tx_id);
    }
    return memory;
}

const KINDS = {
    chaincode: ['newChaincodeEventsRequest', 'newSignedChaincodeEventsRequest'],
    block: ['newBlockEventsRequest', 'newSignedBlockEventsRequest'],
    filtered: ['newFilteredBlockEventsRequest', 'newSignedFilteredBlockEventsRequest'],
};

async function eventsRequest(request, checkpoint) {
    const [make, makeSigned] = KINDS[request.kind];
    if (request.request) {
        return gatewayOf(request)[makeSigned](bytes(request.request), bytes(request.signature));
    }
    const network = gatewayOf(request).getNetwork(request.channel);
    const start = request.start === undefined ? undefined : BigInt(request.start);
    const from = { startBlock: start, checkpoint };
    return request.kind === 'chaincode'
        ? network[make](request.chaincode, from)
        : network[make](from);
}

async function requestEvents(request) {
    const made = await eventsRequest(request, await checkpointer(request));
    return { request: b64(made.getBytes()), digest: b64(made.getDigest()) };
}

async function openEvents(request) {
    const checkpoint = await checkpointer(request);
    const events = await (await eventsRequest(request, checkpoint)).getEvents();
    const id = String(++opened);
    const iterator = events[Symbol.asyncIterator]();
    // Asked at once: an error that nobody waits for would end the program.
    const pending = iterator.next();
    pending.catch(() => undefined);
    streams.set(id, { kind: request.kind, events, iterator, checkpoint, pending });
    return { stream: id };
}

const readers = {
    chaincode: (event) => ({
        block: Number(event.blockNumber),
        tx_id: event.transactionId,
        chaincode: event.chaincodeName,
        name: event.eventName,
        payload: b64(event.payload),
    }),
    block: (block) => ({
        block: block.getHeader().getNumber(),
        raw: b64(block.serializeBinary()),
    }),
    filtered: (block) => ({
        block: block.getNumber(),
        channel: block.getChannelId(),
        transactions: block.getFilteredTransactionsList().map((transaction) => [
            transaction.getTxid(),
            transaction.getTxValidationCode(),
            (transaction.getTransactionActions()?.getChaincodeActionsList() ?? [])
                .map((action) => action.getChaincodeEvent()?.getEventName() ?? '')
                .filter((name) => name),
        ]),
    }),
};

async function nextEvent(request) {
    const stream = streams.get(request.stream);
    stream.pending ??= stream.iterator.next();
    let timer;
    const late = new Promise((resolve) => {
        timer = setTimeout(() => resolve(undefined), request.timeout * 1000);
    });
    try {
        const found = await Promise.race([stream.pending, late]);
        if (!found) {
            return { timeout: true };
        }
        stream.pending = undefined;
        if (found.done) {
            return { end: true };
        }
        stream.last = found.value;
        return { event: readers[stream.kind](found.value) };
    } catch (error) {
        return { end: true, error: failure(error) };
    } finally {
        clearTimeout(timer);
    }
}

async function checkpointLast(request) {
    const { kind, last, checkpoint } = streams.get(request.stream);
    if (kind === 'chaincode') {
        await checkpoint.checkpointChaincodeEvent(last);
    } else {
        await checkpoint.checkpointBlock(BigInt(readers[kind](last).block));
    }
    return {};
}

function closeEvents(request) {
    const stream = streams.get(request.stream);
    stream.pending?.catch(() => undefined);
    stream.events.close();
    return {};
}

const operations = {
    connect: open,
    propose: (request) => prepared(proposal(request)),
    evaluate: async (request) => ({
        result: b64(await proposal(request).evaluate(options(request))),
    }),
    transact: async (request) => {
        const contract = contractOf(request);
        return { result: b64(await contract.submit(request.args[0], proposalOptions(request))) };
    },
    endorse,
    submit,
    status: commitStatus,
    request_events: requestEvents,
    open_events: openEvents,
    next_event: nextEvent,
    checkpoint: checkpointLast,
    close_events: closeEvents,
};

function failure(error) {
    return {
        type: error.name,
        message: error.message,
        grpc: error.cause?.code ?? -1,
        code: error.name === 'CommitError' ? error.code : -1,
        tx_id: error.transactionId ?? '',
        details: (Array.isArray(error.details) ? error.details : []).map((detail) => ({
            address: detail.address,
            msp_id: detail.mspId,
            message: detail.message,
        })),
    };
}

async function answer(line) {
    const request = JSON.parse(line);
    let said;
    try {
        said = { id: request.id, answer: await operations[request.op](request) };
    } catch (error) {
        said = { id: request.id, error: failure(error) };
    }
    process.stdout.write(JSON.stringify(said) + '\n');
}

readline.createInterface({ input: process.stdin }).on('line', answer).on('close', () => process.exit(0));

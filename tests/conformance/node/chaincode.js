'use strict';

// The suite's chaincode on the official Node API: fabric-contract-api for its functions,
// fabric-shim's server for the stream. Its functions are described in ../chaincode_py/contract.py.
// Started as `node chaincode.js settings.json`.

const crypto = require('node:crypto');
const fs = require('node:fs');
const { Contract } = require('fabric-contract-api');
const shim = require('fabric-shim');
const ChaincodeFromContract = require('fabric-shim/lib/contract-spi/chaincodefromcontract.js');

const settings = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));

async function pairs(iterator) {
    const found = [];
    for await (const entry of iterator) {
        found.push([entry.key, entry.value.toString('utf8')]);
    }
    return found;
}

class Conformance extends Contract {
    constructor() {
        super('conformance');
    }

    async get(ctx, key) {
        return (await ctx.stub.getState(key)).toString('utf8');
    }

    async put(ctx, key, value) {
        await ctx.stub.putState(key, Buffer.from(value));
        return 'ok';
    }

    async delete(ctx, key) {
        await ctx.stub.deleteState(key);
        return 'ok';
    }

    async putThenGet(ctx, key, value) {
        await ctx.stub.putState(key, Buffer.from(value));
        return this.get(ctx, key);
    }

    async add(ctx, key, amount) {
        const sum = Number((await this.get(ctx, key)) || '0') + Number(amount);
        await ctx.stub.putState(key, Buffer.from(String(sum)));
        ctx.stub.setEvent('added', Buffer.from(key));
        return String(sum);
    }

    async fill(ctx, prefix, count) {
        for (let index = 0; index < Number(count); index++) {
            const number = String(index).padStart(4, '0');
            await ctx.stub.putState(prefix + number, Buffer.from(number));
        }
        return count;
    }

    async range(ctx, start, end) {
        return JSON.stringify(await pairs(ctx.stub.getStateByRange(start, end)));
    }

    async countInto(ctx, start, end, key) {
        const found = await pairs(ctx.stub.getStateByRange(start, end));
        await ctx.stub.putState(key, Buffer.from(String(found.length)));
        return String(found.length);
    }

    async page(ctx, start, end, size, bookmark) {
        const { iterator, metadata } = await ctx.stub.getStateByRangeWithPagination(
            start,
            end,
            Number(size),
            bookmark,
        );
        const items = [];
        for (let next = await iterator.next(); next.value; next = await iterator.next()) {
            items.push(next.value.key);
            if (next.done) {
                break;
            }
        }
        await iterator.close();
        return JSON.stringify({ items, bookmark: metadata.bookmark });
    }

    async pageThenPut(ctx, start, end, key) {
        await this.page(ctx, start, end, '2', '');
        return this.put(ctx, key, 'late');
    }

    async compositePut(ctx, type, parts, value) {
        const key = ctx.stub.createCompositeKey(type, JSON.parse(parts));
        return this.put(ctx, key, value);
    }

    async compositeRange(ctx, type, parts) {
        const found = [];
        const iterator = ctx.stub.getStateByPartialCompositeKey(type, JSON.parse(parts));
        for await (const entry of iterator) {
            const key = ctx.stub.splitCompositeKey(entry.key);
            found.push([key.objectType, key.attributes, entry.value.toString('utf8')]);
        }
        return JSON.stringify(found);
    }

    async history(ctx, key) {
        const found = [];
        for await (const entry of ctx.stub.getHistoryForKey(key)) {
            found.push([entry.txId, Buffer.from(entry.value).toString('utf8'), entry.isDelete]);
        }
        return JSON.stringify(found);
    }

    async event(ctx, name, payload) {
        ctx.stub.setEvent(name, Buffer.from(payload));
        return 'ok';
    }

    async lock(ctx, key, policy) {
        await ctx.stub.setStateValidationParameter(key, Buffer.from(policy, 'base64'));
        return 'ok';
    }

    async locked(ctx, key) {
        const policy = await ctx.stub.getStateValidationParameter(key);
        return policy ? Buffer.from(policy).toString('base64') : '';
    }

    async fail(_ctx, message) {
        throw new Error(message);
    }

    async failAt(_ctx, organization) {
        if (settings.organization === organization) {
            throw new Error(`refused by ${organization}`);
        }
        return 'ok';
    }

    async organization() {
        return settings.organization;
    }

    async sleep(_ctx, milliseconds) {
        await new Promise((resolve) => setTimeout(resolve, Number(milliseconds)));
        return 'ok';
    }

    async putSecretDigest(ctx, key) {
        const secret = ctx.stub.getTransient().get('secret');
        const digest = crypto.createHash('sha256').update(secret).digest('hex');
        return this.put(ctx, key, digest);
    }

    async whoami(ctx) {
        const role = ctx.clientIdentity.getAttributeValue('clearline.role');
        return JSON.stringify([ctx.clientIdentity.getMSPID(), role]);
    }

    async transaction(ctx) {
        const args = ctx.stub.getBufferArgs().map((arg) => arg.toString('base64'));
        return JSON.stringify([ctx.stub.getChannelID(), ctx.stub.getTxID(), args]);
    }

    async richQuery(ctx) {
        return JSON.stringify(await pairs(ctx.stub.getQueryResult('{"selector":{}}')));
    }
}

const serializers = {
    transaction: 'jsonSerializer',
    serializers: { jsonSerializer: require('fabric-contract-api').JSONSerializer },
};
const contract = new ChaincodeFromContract([Conformance], serializers, {}, 'conformance', '1.0');

// The contract API answers 200 or 500 only; other statuses are the shim's.
const chaincode = {
    Init: (stub) => contract.Init(stub),
    Invoke: async (stub) => {
        const [name, status, message] = stub.getStringArgs();
        if (name !== 'status') {
            return contract.Invoke(stub);
        }
        await stub.putState('status', Buffer.from(message));
        return { status: Number(status), message, payload: Buffer.from('payload') };
    },
};

const server = shim.server(chaincode, {
    ccid: settings.chaincode_id,
    address: settings.listen,
    tlsProps: {
        key: fs.readFileSync(settings.key),
        cert: fs.readFileSync(settings.certificate),
        clientCACerts: fs.readFileSync(settings.client_ca),
    },
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
});
server.start();

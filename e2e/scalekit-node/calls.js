// Makes calls of the SDK as it is told to: each line of the input is one,
// {"call", "args"}, and is answered by one line, {"ok"} or {"error"}.
'use strict';
const readline = require('node:readline');
const { ScalekitClient } = require('@scalekit-sdk/node');

const [url, id, secret] = process.argv.slice(2);
const client = new ScalekitClient(url, id, secret);
const plain = (_, value) => (typeof value === 'bigint' ? String(value) : value);

async function answer({ call, args }) {
  if (call === 'accessToken') return { ok: { token: client.passwordless.coreClient.accessToken } };
  try {
    return { ok: await client.passwordless[call](...args) };
  } catch (error) {
    return {
      error: {
        name: error.constructor.name,
        message: error.message,
        code: error._errorCode ?? '',
        status: error._grpcStatus ?? 0,
        details: error._unpackedDetails ?? [],
      },
    };
  }
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(await answer(JSON.parse(line)), plain) + '\n');
  }
}

main();

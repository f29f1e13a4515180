#!/usr/bin/env bash
# faye-websocket 0.11.4 for Node.
#
# A server that closes with code 1012 ("service restart") or 1013 ("try again later"), which are registered with IANA, is
# reported to the program as 1002 ("protocol error"). The reason stays. Codes from 3000 are reported as they came. A program
# that takes 1002 for its own fault does not come back to a server that restarts.
#
# Seen: 1012 becomes 1002, 1013 becomes 1002, 4012 stays 4012.
#
# Needs Node and npm.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund faye-websocket@0.11.4 >/dev/null
cat >program.cjs <<'END'
const { createHash } = require('node:crypto');
const { createServer } = require('node:net');
const { Client } = require('faye-websocket');

// A server that accepts the upgrade, and sends one close frame.
const server = createServer((socket) => {
	socket.on('error', () => {});
	socket.once('data', (request) => {
		const [, code] = /GET \/(\d+)/.exec(request);
		const key = /sec-websocket-key: (\S+)/i.exec(request)[1];
		const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
		socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
		const payload = Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from('later')]);
		socket.write(Buffer.concat([Buffer.from([0x88, payload.length]), payload]));
	});
});
server.listen(0, '127.0.0.1', async () => {
	const told = [];
	for (const code of [1012, 1013, 4012]) {
		const client = new Client(`ws://127.0.0.1:${server.address().port}/${code}`);
		const event = await new Promise((ended) => (client.onclose = ended));
		told.push(`${code} ${event.code} ${event.reason}`);
	}
	console.log(`sent and told: ${told.join(', ')}`);
	process.exit(told.join() === '1012 1002 later,1013 1002 later,4012 4012 later' ? 0 : 1);
});
END
node program.cjs

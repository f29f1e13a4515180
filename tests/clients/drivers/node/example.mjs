// Runs examples/client.mjs with the `WebSocket` of a library, or with the one of Node. Each line of the input is a message.
//     node example.mjs LIBRARY CLIENT URL NAME ROOM
import { createInterface } from 'node:readline';

const [library, client, url, sender_username, room] = process.argv.slice(2);
const libraries = {
	'built-in': () => WebSocket,
	'faye-websocket': async () => (await import('faye-websocket')).default.Client,
	undici: async () => (await import('undici')).WebSocket,
	websocket: async () => (await import('websocket')).default.w3cwebsocket,
	ws: async () => (await import('ws')).default,
};
globalThis.WebSocket = await libraries[library]();
const { chat } = await import(client);
const say = chat(url, { sender_username, room }, console.log);
const lines = createInterface({ input: process.stdin });
lines.on('line', say);
lines.on('close', () => process.exit());

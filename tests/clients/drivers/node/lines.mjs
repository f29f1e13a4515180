// The line protocol of tests/clients/driver.rs, for libraries with the `WebSocket` of browsers.
import { createInterface } from 'node:readline';

const tell = (...words) => process.stdout.write(`${words.join(' ')}\n`);
const encode = (text) => Buffer.from(text ?? '').toString('base64');
const decode = (text) => Buffer.from(text, 'base64').toString();

/** Whether to do without what docs/clients.md advises for the library. */
export const isUnadvised = process.argv[2] === 'unadvised';

/** Carries out the commands of the standard input. `connect` returns a new `WebSocket` for a URL. */
export function drive(connect) {
	let socket;
	const commands = {
		open(url) {
			socket = connect(url);
			socket.onopen = () => tell('opened');
			socket.onmessage = ({ data }) => tell('text', encode(data));
			socket.onclose = ({ code, reason }) => tell('closed', code ?? '-', encode(reason));
			if (isUnadvised) return;
			socket.onerror = ({ message, error }) => tell('failed', encode(message || error?.message));
		},
		send(text) {
			try {
				socket.send(decode(text));
			} catch ({ message }) {
				tell('failed', encode(message));
			}
		},
		close: () => socket.close(1000),
	};
	const lines = createInterface({ input: process.stdin });
	lines.on('line', (line) => {
		const [command, ...words] = line.split(' ');
		commands[command](...words);
	});
	lines.on('close', () => process.exit());
}

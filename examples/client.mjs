// A chat client that comes back: nothing lost, nothing twice. For browsers, and Node 22 or newer:
//     const { say } = chat('ws://127.0.0.1:8080/ws', 'alice', 'lobby', console.log);
//     say('hello'); say('@bob psst');

const FINAL = [1002, 1003, 1007, 1008, 1009, 4001, 4003];
const PASSING = ['unavailable', 'internal', 'rate_limited'];

export function chat(url, name, room, show) {
	const unsent = [], seen = new Set();
	let ws, ready, heard, watch, inRoom, inPrivate, tries = 0, dedupe = 300_000;

	const place = ({ epoch, seq, message_id }) => ({ epoch, seq, message_id });
	const ask = (message_type, body, id) =>
		ws.send(JSON.stringify({ message_type, message_body: { sender_username: name, ...body }, id }));

	function open() {
		ws = new WebSocket(url);
		heard = Date.now();
		// Private messages begin with the first request: it has to be the one that says from where.
		ws.onopen = () => (ask('Auth', { since: inPrivate }, 'auth'), ask('Enter', { room, since: inRoom }, 'enter'));
		ws.onmessage = ({ data }) => receive(JSON.parse(data));
		ws.onclose = ({ code, reason }) => lost(code, reason);
		watch = setInterval(() => (Date.now() - heard > 30_000 ? lost() : ws.readyState === 1 && ask('Ping')), 10_000);
	}

	function receive({ message_type: type, message_body: body, id }) {
		heard = Date.now();
		if (type === 'GroupChat' && body.room === room) inRoom = place(body);
		if (type === 'PrivateChat') inPrivate = place(body);
		if (body.content !== undefined && !seen.has(body.message_id)) {
			if (seen.add(body.message_id).size > 5_000) seen.delete(seen.values().next().value);
			show(`${body.sender_username}${type === 'PrivateChat' ? ' (private)' : ''}: ${body.content}`);
		}
		if (type === 'Gap' || body.recovered === false) show('-- messages may be missing here');
		dedupe = body.dedupe_ms ?? dedupe;
		if (type === 'Ack' && id === 'enter') {
			inRoom ??= place(body);
			ready = true;
			tries = 0;
			next();
		} else if (type === 'Error' && PASSING.includes(body.code)) {
			if (id) lost(1006, `retry_after_ms=${body.retry_after_ms ?? 1000}`);
		} else if (type === 'Error' && ['auth', 'enter'].includes(id)) {
			lost(4003, body.message);
		} else if (id && id === unsent[0]?.id) {
			const { text } = unsent.shift();
			if (type === 'Error') show(`-- not sent: ${text} (${body.message})`);
			next();
		}
	}

	/** One at a time, so that none overtakes another; always under the id of its first time. */
	function next() {
		const item = unsent[0];
		if (!ready || !item) return;
		item.first ??= Date.now();
		const to = /^@(\S+) (.*)$/s.exec(item.text);
		if (Date.now() - item.first > dedupe - 10_000) {
			show(`-- may have been sent: ${unsent.shift().text}`);
			next();
		} else if (to) ask('PrivateChat', { target_username: to[1], content: to[2] }, item.id);
		else ask('GroupChat', { room, content: item.text }, item.id);
	}

	function lost(code = 1006, reason = '') {
		clearInterval(watch);
		ready = ws.onopen = ws.onmessage = ws.onclose = null;
		ws.close();
		if (FINAL.includes(code)) return show(`-- closed: ${code} ${reason}`);
		const wait = /retry_after_ms=(\d+)/.exec(reason)?.[1];
		setTimeout(open, wait ?? Math.random() * Math.min(20_000, 1000 * 2 ** tries++));
	}

	open();
	return { say: (text) => unsent.push({ text, id: crypto.randomUUID() }) === 1 && next() };
}

// A chat client that comes back: nothing lost, nothing twice, no gap hidden. For browsers, and Node 22 or newer:
//     const say = chat('ws://127.0.0.1:8080/ws', { sender_username: 'alice', room: 'lobby' }, console.log);
//     say('hello');
// What a client for daily use adds, such as an end to what stays unsent for 5 minutes: docs/clients.md.
export function chat(url, who, show) {
	let [socket, isIn, tries, since, seen, unsent] = [null, false, 0, {}, new Set(), new Map()];
	const ask = (message_type, id, body) => socket.send(JSON.stringify({ message_type, id, message_body: { ...who, ...body } }));
	// One at a time, so that none overtakes another; a repeat keeps its id, so that it is stored once.
	const next = () => isIn && unsent.size > 0 && ask('GroupChat', ...unsent.entries().next().value);

	function open() {
		[socket, isIn] = [new WebSocket(url), false];
		// Private messages begin with the first request: it has to be the one that says from where.
		socket.onopen = () => ['Auth', 'Enter'].forEach((type) => ask(type, type, { since: since[type] }));
		socket.onmessage = ({ data }) => receive(JSON.parse(data));
		socket.onclose = ({ code, reason }) => {
			if ([1002, 1003, 1007, 1008, 1009, 4001, 4003].includes(code)) return show(`-- closed: ${code} ${reason}`);
			const told = /retry_after_ms=(\d+)/.exec(reason)?.[1];
			setTimeout(open, told ?? Math.random() * Math.min(20_000, 1000 * 2 ** tries++));
		};
	}

	function receive({ message_type: type, id, message_body: body }) {
		const position = { epoch: body.epoch, seq: body.seq, message_id: body.message_id };
		if (type === 'GroupChat' || type === 'PrivateChat') {
			since[type === 'GroupChat' ? 'Enter' : 'Auth'] = position;
			if (!seen.has(body.message_id)) show(`${body.sender_username}: ${body.content}`);
			if (seen.add(body.message_id).size > 5_000) seen.delete(seen.values().next().value);
		}
		const failed = type === 'Error' && id, wait = body.retry_after_ms ?? (/^(internal|not_in_room)$/.test(body.code) && 5000);
		if (/Gap|Error/.test(type) || body.recovered === false) show(`-- ${body.message ?? 'messages may be missing here'}`);
		if (failed && (wait || !isIn)) return socket.close(wait ? 4000 : 4003, wait ? `retry_after_ms=${wait}` : body.code);
		if (id === 'Enter') [isIn, tries, since.Enter] = [true, 0, since.Enter ?? position];
		if (unsent.delete(id) || id === 'Enter') next();
	}

	open();
	// Not `crypto.randomUUID`, which browsers have only with https and on localhost.
	const newId = () => crypto.getRandomValues(new Uint32Array(4)).join('-');
	return (content) => unsent.set(newId(), { content }).size === 1 && next();
}

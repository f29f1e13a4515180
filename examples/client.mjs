// A chat client that comes back: nothing lost, nothing twice, no gap hidden. For browsers, Node 22 or newer, and the libraries
// of docs/clients.md that have the same `WebSocket`:
//     const say = chat('ws://127.0.0.1:8080/ws', { sender_username: 'alice', room: 'lobby' }, console.log);
//     say('hello');
// With authentication on, a fourth argument gets tokens: an async function, for a token of this user or nothing if there is none.
// What a client for daily use adds, such as an end to what stays unsent for 5 minutes: docs/clients.md.
export function chat(url, who, show, getToken) {
	let [socket, isIn, entered, pings, tries, since, seen, unsent] = [null, false, 0, 0, 0, {}, new Set(), new Map()];
	let token;
	// What was shown, for the server: a pong proves only that the browser, or the library, has it.
	const received = () => since.Auth ?? { epoch: '', seq: 0 };
	// Some libraries throw if the connection has just ended. What is not sent now is sent over the next one.
	const ask = (message_type, id, body) =>
		socket?.readyState === 1 &&
		socket.send(JSON.stringify({ message_type, id, token, received: received(), message_body: { ...who, ...body } }));
	// One at a time, so that none overtakes another; a repeat keeps its id, so that it is stored once.
	const next = () => isIn && unsent.size > 0 && ask('GroupChat', ...unsent.entries().next().value);

	// A token serves, also for the next connections, until the node says that it is over.
	function start() {
		if (!getToken || token) return open();
		getToken().then((fresh) => ((token = fresh) ? open() : show('-- signed out')), () => ended(4001, ''));
	}

	function open() {
		const mine = (socket = new WebSocket(url));
		const end = ({ code, reason }) => mine === socket && ended(code, reason);
		// Private messages begin with the first request: it has to be the one that says from where.
		mine.onopen = () => ['Auth', 'Enter'].forEach((type) => ask(type, type, { since: since[type] }));
		mine.onmessage = ({ data }) => mine === socket && receive(JSON.parse(data));
		mine.onclose = end;
		// Some libraries, such as the one in Node, tell a refused upgrade by an `error` alone. Without a listener, npm ws throws.
		mine.onerror = () => setTimeout(end, 0, {});
	}

	function ended(code, reason) {
		const told = /retry_after_ms=(\d+)/.exec(reason);
		if (isIn && performance.now() - entered >= 60_000) tries = 0;
		// Some libraries report a lost connection as 1000, and codes that they do not know as 1002. It may still be our fault.
		if (isIn && !told && [1000, 1002].includes(code)) tries = Math.max(tries, 3);
		[socket, isIn] = [null, false];
		if (code === 4001) token = undefined;
		const isFinal = code === 4001 ? !getToken : [1003, 1007, 1008, 1009, 4003].includes(code);
		if (!told && isFinal) return show(`-- closed: ${code} ${reason}`);
		setTimeout(start, Number(told?.[1] ?? 0) + Math.random() * Math.min(20_000, 1000 * 2 ** tries++));
	}

	// Without waiting for the answer of a node that may be gone.
	function leave(code, reason) {
		socket.close(code);
		ended(code, reason);
	}

	function receive({ message_type: type, id, message_body: body }) {
		const position = { epoch: body.epoch, seq: body.seq, message_id: body.message_id };
		if (type === 'GroupChat' || type === 'PrivateChat') {
			if (!seen.has(body.message_id)) show(`${body.sender_username}: ${body.content}`);
			since[type === 'GroupChat' ? 'Enter' : 'Auth'] = position;
			if (seen.add(body.message_id).size > 5_000) seen.delete(seen.values().next().value);
		}
		// Over the same connection, which goes on. If it fails, the end of the old token leads to the next attempt.
		if (type === 'TokenExpiring') getToken?.().then((fresh) => (token = fresh ?? token) && ask('Ping'), () => {});
		const failed = type === 'Error' && id, wait = body.retry_after_ms ?? (/^(internal|not_in_room)$/.test(body.code) && 5000);
		if (/Gap|Error/.test(type) || body.recovered === false) show(`-- ${body.message ?? 'messages may be missing here'}`);
		if (failed && wait) return leave(4000, `retry_after_ms=${wait}`);
		if (failed && getToken && body.code === 'unauthorized') return leave(4001, body.code);
		if (failed && !isIn) return leave(4003, body.code);
		if (id === 'Enter') [isIn, entered, since.Enter] = [true, performance.now(), since.Enter ?? position];
		if (id === 'Enter') tell(Math.min(20_000, body.idle_timeout_ms / 2 || 20_000));
		if (unsent.delete(id) || id === 'Enter') next();
	}

	// Says what was shown, and that this client is there: some libraries do not answer pings.
	function tell(every) {
		clearInterval(pings);
		pings = setInterval(() => isIn && ask('Ping'), every);
		pings.unref?.();
	}

	start();
	// Not `crypto.randomUUID`, which browsers have only with https and on localhost.
	const newId = () => crypto.getRandomValues(new Uint32Array(4)).join('-');
	return (content) => unsent.set(newId(), { content }).size === 1 && next();
}

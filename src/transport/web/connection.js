// Owns the WebSocket: finds out that it is dead, tries again. Knows no rooms.

import { uuid } from './dom.js';

const PING_EVERY = 20_000;
const DEADLINE = 10_000;
const WAKE_DEADLINE = 4_000;
const LONGEST_WAIT = 20_000;
/** The server closes with 1009 above this. */
const LARGEST_FRAME = document.documentElement.dataset.frame;
const OUR_FAULT = [1002, 1003, 1007, 1008, 1009];

/** `on.refused`: it must not try again. */
export function connect(on) {
	let socket, ordered, retry, deadline, proven, pings;
	let tries = 0;
	const asked = new Map();
	const link = {
		/** Or `connecting` (till signed in), `live`, `waiting` (until `retryAt`). */
		state: 'stopped',
		lostAt: 0,
		retryAt: 0,
		token: '',
		get live() {
			return link.state === 'live';
		},
		open,
		request,
		/** After a socket that lasted, waits are short again. */
		proveLive() {
			link.lostAt = 0;
			proven = setTimeout(() => (tries = 0), DEADLINE);
			pings = setInterval(() => probe(DEADLINE), PING_EVERY);
			become('live');
		},
		fail: (wait) => lost(1006, `retry_after_ms=${wait}`),
		stop() {
			clearTimeout(retry);
			drop();
			become('stopped');
		},
		retryNow() {
			tries = 0;
			if (link.state === 'waiting') open();
		},
		/** A wait that the server asked for is kept. */
		wake() {
			if (link.state === 'waiting' && !ordered) open();
			else if (link.live) probe(WAKE_DEADLINE);
			else if (socket) expect(WAKE_DEADLINE);
		},
	};

	function become(state) {
		link.state = state;
		on.changed?.();
	}

	function open() {
		clearTimeout(retry);
		if (socket) return;
		link.lostAt ||= Date.now();
		become('connecting');
		socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/ws`);
		expect(DEADLINE);
		socket.onopen = () => {
			expect(DEADLINE);
			on.opened();
		};
		socket.onmessage = (event) => receive(event.data);
		socket.onclose = (event) => lost(event.code, event.reason);
	}

	/** Rejects with the error. `lost`: it may be carried out. `offline`: never sent. */
	async function request(message_type, message_body, id = uuid()) {
		const text = JSON.stringify({ message_type, message_body, id, token: link.token || null });
		if (new Blob([text]).size > LARGEST_FRAME) throw { message: 'It is too long.' };
		if (socket?.readyState !== 1) throw { code: 'offline' };
		return new Promise((Ack, Error) => {
			asked.set(id, { Ack, Error });
			socket.send(text);
		});
	}

	/** Any frame will do: the answer may wait behind a slow request. */
	function probe(within) {
		expect(within);
		request('Ping', {}).then(() => on.alive(), () => {});
	}

	function expect(within) {
		clearTimeout(deadline);
		deadline = setTimeout(() => lost(1006, ''), within);
	}

	function receive(data) {
		clearTimeout(deadline);
		const { message_type: type, message_body: body = {}, id } = JSON.parse(data);
		const waiting = asked.get(id);
		if (!waiting) return on.frame?.(type, body);
		asked.delete(id);
		waiting[type](body);
	}

	function drop() {
		for (const timer of [deadline, proven, pings]) clearTimeout(timer);
		// A dead peer never answers a close.
		if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
		socket?.close();
		socket = null;
		for (const { Error } of asked.values()) Error({ code: 'lost' });
		asked.clear();
	}

	function lost(code, reason) {
		if (!socket) return;
		link.lostAt ||= Date.now();
		drop();
		on.closed();
		if (code === 4001 || code === 4003) {
			become('stopped');
			return on.refused?.(code);
		}
		ordered = /retry_after_ms=(\d+)/.exec(reason);
		if (OUR_FAULT.includes(code)) tries = Math.max(tries, 4);
		const wait = ordered ? Math.min(ordered[1], 3_600_000) : backOff();
		link.retryAt = Date.now() + wait;
		retry = setTimeout(open, wait);
		become('waiting');
	}

	/** Full jitter: within 1 s, then from 0.5 s to a ceiling that doubles. */
	function backOff() {
		const floor = tries && 500;
		return floor + Math.random() * (Math.min(LONGEST_WAIT, 1000 * 2 ** tries++) - floor);
	}

	return link;
}

/** Whose token it is: a `Ping` begins nothing. */
export function ownerOf(token) {
	let link;
	return new Promise((found, failed) => {
		link = connect({
			opened: () => link.request('Ping', {}).then(found, failed),
			closed: () => failed({ message: 'No connection to the server.' }),
		});
		link.token = token;
		link.open();
	}).finally(() => link.stop());
}

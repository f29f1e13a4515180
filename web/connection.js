// @ts-check
// Owns the WebSocket: detects a dead connection, and reconnects. Knows no rooms.

import { uuid } from './dom.js';
import { connection as texts } from './strings.js';
import { refusalFor, wordsFor } from './words.js';

/** @import { Acks, ConnectionHandler, ConnectionState, Failure } from './page.d.ts' */
/** @typedef {ReturnType<typeof connect>} Connection */
/** @typedef {ReturnType<typeof setTimeout>} Timer */

const PING_EVERY = 20_000;
const DEADLINE = 10_000;
const WAKE_DEADLINE = 4_000;
const LONGEST_WAIT = 20_000;
/** A connection that lasted so long is a good one. A fault that ends each soon must not bring the page back every second. */
const STABLE_AFTER = 60_000;
/** The server closes the connection with 1009 for a larger frame. */
const LARGEST_FRAME = Number(document.documentElement.dataset.frame);
/** The close codes for errors of this page. */
const OUR_FAULT = [1002, 1003, 1007, 1008, 1009];

/**
 * What the server would answer to a new connection. A browser tells the page nothing of a connection that is refused.
 * @param {AbortSignal} signal
 */
async function askServer(signal) {
	const options = { method: 'HEAD', signal, cache: /** @type {const} */ ('no-store') };
	const answer = await fetch('/ws', options).catch(() => null);
	const seconds = Number(answer?.headers.get('Retry-After'));
	return {
		isThere: Boolean(answer && answer.status < 500 && answer.status !== 429),
		// A balancer that finds no server answers without it.
		why: refusalFor(answer?.headers.get('X-Chat-Refused')),
		order: seconds ? `retry_after_ms=${seconds * 1000}` : '',
	};
}

/** @param {ConnectionHandler} on */
export function connect(on) {
	/** @type {WebSocket | null} */
	let socket = null;
	/** @type {{ retry?: Timer, deadline?: Timer, proven?: Timer, pings?: Timer }} */
	const timers = {};
	/** Whether the server set the time of the next attempt. */
	let isOrdered = false;
	/** Whether the last socket never opened. */
	let isShut = false;
	/**
	 * Asks whether there is a server.
	 * @type {AbortController | null}
	 */
	let asking = null;
	let tries = 0;
	/** @type {Map<string, { type: string, Ack(ack: any): void, Error(failure: Failure): void }>} */
	const pending = new Map();
	const link = {
		/** @type {ConnectionState} */
		state: 'stopped',
		lostAt: 0,
		retryAt: 0,
		/** Why the server lets the page not in, for people; empty if it did not say. */
		why: '',
		token: '',
		get live() {
			return link.state === 'live';
		},
		open,
		request,
		/**
		 * The page is signed in. When the connection has lasted for some time, waits are short again.
		 * @param {number} [idleTimeout] How long the server lets the page be silent. Older servers do not say it.
		 */
		proveLive(idleTimeout = 2 * PING_EVERY) {
			link.lostAt = 0;
			timers.proven = setTimeout(() => (tries = 0), STABLE_AFTER);
			timers.pings = setInterval(() => probe(DEADLINE), Math.min(PING_EVERY, idleTimeout / 2));
			become('live');
		},
		/** @param {number} [wait] */
		fail: (wait) => lost(1006, `retry_after_ms=${wait}`),
		stop() {
			clearTimeout(timers.retry);
			drop();
			become('stopped');
		},
		/** The page does not run for now. With an open socket, its user would still seem present. */
		pause() {
			if (link.state === 'stopped') return;
			clearTimeout(timers.retry);
			drop();
			on.closed();
			link.lostAt = link.retryAt = 0;
			become('waiting');
		},
		retryNow() {
			tries = 0;
			if (link.state === 'waiting') open();
		},
		/** The page became visible, or the network returned. A wait that the server set is kept. */
		wake() {
			if (link.state === 'waiting' && !isOrdered) open();
			else if (link.live) probe(WAKE_DEADLINE);
			else if (socket || asking) expect(WAKE_DEADLINE);
		},
	};

	/** @param {ConnectionState} state */
	function become(state) {
		link.state = state;
		on.changed?.();
	}

	function open() {
		clearTimeout(timers.retry);
		if (socket || asking) return;
		link.lostAt ||= Date.now();
		become('connecting');
		if (isShut) ask();
		else dial();
	}

	/**
	 * Firefox delays each WebSocket to a server that did not answer earlier ones, by up to a minute, even after the server
	 * is back. Failed fetches have no such effect, so a fetch finds out first whether the server is there and has room.
	 */
	async function ask() {
		const mine = new AbortController();
		asking = mine;
		expect(DEADLINE);
		const { isThere, why, order } = await askServer(mine.signal);
		if (asking !== mine) return;
		if (!isThere) return lost(1006, order, why);
		asking = null;
		dial();
	}

	function dial() {
		isShut = true;
		socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/ws`);
		expect(DEADLINE);
		socket.onopen = () => {
			isShut = false;
			expect(DEADLINE);
			on.opened();
		};
		socket.onmessage = (event) => receive(event.data);
		socket.onclose = (event) => lost(event.code, event.reason);
	}

	/**
	 * Sends a request and waits for its answer. Rejects with a `Failure`.
	 * @template {keyof Acks} Type
	 * @param {Type} message_type
	 * @param {object} message_body
	 * @param {string} [id]
	 * @returns {Promise<Acks[Type]>}
	 */
	async function request(message_type, message_body, id = uuid()) {
		const received = on.received?.();
		const text = JSON.stringify({ message_type, message_body, id, token: link.token || null, received });
		if (new Blob([text]).size > LARGEST_FRAME) throw { message: wordsFor('message_too_large') };
		const openSocket = socket?.readyState === WebSocket.OPEN ? socket : null;
		if (!openSocket) throw { code: 'offline' };
		return new Promise((Ack, Error) => {
			pending.set(id, { type: message_type, Ack, Error });
			openSocket.send(text);
		});
	}

	/**
	 * Sends a `Ping`. Any frame from the server ends the deadline: the answer may wait behind a slow request.
	 * @param {number} within
	 */
	function probe(within) {
		expect(within);
		request('Ping', {}).then(
			() => on.alive?.(),
			() => {},
		);
	}

	/** @param {number} within */
	function expect(within) {
		clearTimeout(timers.deadline);
		timers.deadline = setTimeout(() => lost(1006, ''), within);
	}

	/** @param {string} data */
	function receive(data) {
		clearTimeout(timers.deadline);
		const { message_type: type, message_body: body = {}, id } = JSON.parse(data);
		const settle = pending.get(id);
		if (type === 'Error') body.message = wordsFor(body.code, settle?.type);
		if (!settle) return on.frame?.(type, body);
		pending.delete(id);
		settle[/** @type {'Ack' | 'Error'} */ (type)](body);
	}

	function drop() {
		for (const timer of [timers.deadline, timers.proven, timers.pings]) clearTimeout(timer);
		// A dead peer never answers a close, so its events must not arrive later.
		if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
		socket?.close();
		asking?.abort();
		socket = asking = null;
		for (const { Error } of pending.values()) Error({ code: 'lost' });
		pending.clear();
	}

	/**
	 * @param {number} code
	 * @param {string} reason
	 * @param {string} [why]
	 */
	function lost(code, reason, why = code === 4013 ? refusalFor('full') : '') {
		if (!socket && !asking) return;
		link.why = why;
		link.lostAt ||= Date.now();
		drop();
		on.closed();
		// Whatever the code: the server expects the page back.
		const ordered = /retry_after_ms=(\d+)/.exec(reason);
		isOrdered = Boolean(ordered);
		if (!ordered && (code === 4001 || code === 4003)) {
			become('stopped');
			return on.refused?.(code);
		}
		// Balancers report lost connections as 1000, and codes that they do not know as 1002.
		const isDoubtful = link.live && (code === 1000 || code === 1002);
		if (!ordered && (isDoubtful || OUR_FAULT.includes(code))) tries = Math.max(tries, isDoubtful ? 3 : 4);
		// The server may order the same wait of everybody, so each page adds its own.
		const wait = backOff() + (ordered ? Math.min(Number(ordered[1]), 3_600_000) : 0);
		link.retryAt = Date.now() + wait;
		timers.retry = setTimeout(open, wait);
		become('waiting');
	}

	/** Full jitter: the first wait is at most 1 s; later ones are from 0.5 s to a maximum that doubles. */
	function backOff() {
		const least = tries && 500;
		return least + Math.random() * (Math.min(LONGEST_WAIT, 1000 * 2 ** tries++) - least);
	}

	return link;
}

/**
 * The user that a token belongs to. A `Ping` tells it without any other effect.
 * @param {string} token
 * @returns {Promise<Acks['Ping']>}
 */
export function ownerOf(token) {
	/** @type {Connection} */
	let link;
	let isOver = false;
	const answer = new Promise((found, failed) => {
		link = connect({
			opened: () => isOver || link.request('Ping', {}).then(found, failed),
			async closed() {
				isOver = true;
				const { why } = await askServer(AbortSignal.timeout(DEADLINE));
				failed({ message: why || texts.none });
			},
		});
		link.token = token;
		link.open();
	});
	return answer.finally(() => link.stop());
}

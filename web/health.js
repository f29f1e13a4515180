// @ts-check
// Owns whether the server can reach its message store, as far as its answers tell. An open connection does not tell it.

/** @import { Conversation } from './conversation.js' */
/** @import { Session } from './session.js' */

/** The requests that the server can't answer without its message store. */
const NEED_STORE = ['Auth', 'Enter', 'GroupChat', 'PrivateChat', 'Members'];
const LONGEST_SILENCE = 60_000;
const FIRST_WAIT = 2_000;
const LONGEST_WAIT = 10_000;

/**
 * @param {Session} session
 * @param {(room: Conversation) => void} ask Sends a request that needs the store, as small as possible.
 */
export function storeHealth(session, ask) {
	let heardAt = Date.now();
	let tries = 0;
	/** @type {ReturnType<typeof setTimeout> | undefined} */
	let timer;
	const health = {
		isAway: false,
		/** The store has answered, or nothing is known about it any more. */
		clear() {
			clearTimeout(timer);
			timer = undefined;
			heardAt = Date.now();
			tries = 0;
			become(false);
		},
		/** @param {string} request The type of a request that succeeded. */
		answered(request) {
			if (NEED_STORE.includes(request)) health.clear();
		},
		/** Asks until the store answers. The waits are random and grow, since every page waits for the same store. */
		failed() {
			become(true);
			const most = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** tries);
			timer ??= setTimeout(again, most * (0.5 + Math.random() / 2));
		},
		/** Asks only after a long silence: a message of anybody tells the same. */
		check() {
			if (Date.now() - heardAt > LONGEST_SILENCE) askRoom();
		},
	};

	/** @param {boolean} isAway */
	function become(isAway) {
		if (health.isAway === isAway) return;
		health.isAway = isAway;
		session.changed();
	}

	function again() {
		timer = undefined;
		tries += 1;
		if (!askRoom()) health.clear();
	}

	/** Returns false if the user is in no room. */
	function askRoom() {
		const room = session.list('room').find(({ joined }) => joined);
		if (room) ask(room);
		return Boolean(room);
	}

	return health;
}

// @ts-check
// Owns the user's messages until they are stored. Sends one at a time per conversation, so that none overtakes another,
// and repeats each under the same id.

import { uuid } from './dom.js';
import { isSlow, waitsSlow } from './rights.js';
import { message as texts } from './strings.js';

/** @import { Conversation } from './conversation.js' */
/** @import { Session } from './session.js' */
/** @import { Storage } from './storage.js' */
/** @import { EventBody, Extras, Failure, Position, PublishAck, Unsent } from './page.d.ts' */
/** @typedef {ReturnType<typeof outbox>} Outbox */

/** After this time, the user decides. */
const KEEP_TRYING = 60_000;
/** A repeat must reach the server within the dedupe window too. */
const MARGIN = 10_000;
/** Errors that the user sees elsewhere. */
const SILENT = ['lost', 'offline', 'unauthorized'];
/** Errors that a later attempt may not meet. */
const PASSING = ['unavailable', 'internal', 'rate_limited'];

/** @param {string | undefined} code */
export const isSilent = (code) => SILENT.includes(code ?? '');

/** @param {string | undefined} code */
export const isPassing = (code) => PASSING.includes(code ?? '');

/**
 * What a message says beside its text, as the server wants it.
 * @param {Extras} item
 */
export const extrasOf = ({ replyTo, thread, mentions }) => ({ reply_to: replyTo, thread, mentions });

/**
 * @param {Session} session
 * @param {Storage} store
 */
export function outbox(session, store) {
	/** @type {Unsent[]} */
	let items = store.unsent().map((item) => ({
		...item,
		state: item.state === 'failed' ? 'failed' : 'waiting',
		unknown: Boolean(item.sentAt),
	}));
	/** The keys of the conversations that are sending. */
	const busy = new Set();

	/** @param {Conversation} conv */
	const of = (conv) => items.filter(({ key }) => key === conv.key);
	/**
	 * Whether a repeat could be stored a second time.
	 * @param {Unsent} item
	 */
	const expired = (item) => item.unknown && Date.now() - (item.sentAt ?? 0) > session.dedupeMs - MARGIN;

	/**
	 * @param {Unsent} item
	 * @param {Partial<Unsent>} changes
	 */
	function keep(item, changes) {
		Object.assign(item, changes);
		if (items.includes(item)) store.keep(item);
		session.changed();
	}

	/** @param {Unsent} item */
	function discard(item) {
		items = items.filter((each) => each !== item);
		store.drop(item.id);
		session.changed();
	}

	const fresh = () => ({ id: uuid(), sentAt: null, unknown: false });

	/**
	 * @param {Conversation} conv
	 * @param {Unsent} item
	 */
	function again(conv, item) {
		keep(item, { state: 'waiting', since: Date.now(), tries: 0, entered: false, notBefore: 0 });
		flush(conv);
	}

	/** @param {Conversation} conv */
	async function flush(conv) {
		if (busy.has(conv.key)) return;
		busy.add(conv.key);
		for (;;) {
			const item = of(conv).find((each) => each.state === 'waiting');
			if (!item || item.notBefore > Date.now() || !(await send(conv, item))) break;
		}
		busy.delete(conv.key);
	}

	/**
	 * Returns whether the next message may be sent.
	 * @param {Conversation} conv
	 * @param {Unsent} item
	 */
	async function send(conv, item) {
		/** @param {string | undefined} why */
		const fail = (why) => (keep(item, { state: 'failed', why }), true);
		if (conv.refused) return fail(conv.refused);
		if (!session.canSay(conv)) return false;
		if (isSlow(conv)) {
			setTimeout(flush, conv.slowUntil - Date.now() + 5, conv);
			return false;
		}
		if (expired(item)) return fail(texts.notConfirmed);
		keep(item, { state: 'sending', sentAt: item.sentAt ?? Date.now() });
		try {
			stored(conv, item, await session.publish(conv, item));
			waitsSlow(conv);
			return true;
		} catch (error) {
			const { code, message, outcome, retry_after_ms } = /** @type {Failure} */ (error);
			if (code === 'lost' || outcome === 'unknown' || (code === 'internal' && !outcome)) item.unknown = true;
			else if (!item.unknown) item.sentAt = null;
			if (code === 'rate_limited' && waitsSlow(conv, retry_after_ms)) {
				keep(item, { state: 'waiting' });
				return true;
			}
			if (isPassing(code)) {
				if (Date.now() - item.since > KEEP_TRYING) return fail(message);
				const backOff = () => Math.min(10_000, 1000 * 2 ** item.tries++) * (0.5 + Math.random() / 2);
				const wait = (retry_after_ms ?? 0) + backOff();
				item.notBefore = Date.now() + wait;
				setTimeout(flush, wait + 5, conv);
			} else if (code === 'not_in_room' && conv.refused) {
				return fail(conv.refused);
			} else if (code === 'not_in_room' && !item.entered) {
				item.entered = true;
				session.enter(conv);
			} else if (!isSilent(code)) {
				return fail(message);
			}
			keep(item, { state: 'waiting' });
			return false;
		}
	}

	/**
	 * @param {Conversation} conv
	 * @param {Unsent} item
	 * @param {PublishAck} ack
	 */
	function stored(conv, item, ack) {
		store.drop(item.id);
		if (conv.byId.has(ack.message_id)) return discard(item);
		Object.assign(item, { state: 'stored', at: ack.sent_at, ack });
		overtaken(conv, conv.position ?? session.position);
	}

	/**
	 * Shows stored messages whose copies were in a gap: the position is already after them.
	 * @param {Conversation} conv
	 * @param {Position | undefined} position
	 */
	function overtaken(conv, position) {
		for (const item of of(conv)) {
			const { ack } = item;
			if (!ack || !position || ack.epoch !== position.epoch || ack.seq > position.seq) continue;
			conv.append({ ...ack, sender_username: item.from, content: item.text, ...extrasOf(item) });
			discard(item);
		}
		session.changed();
	}

	return {
		of,
		/** Whether a message waits because the server could not store it. */
		isLate: () => items.some(({ state, notBefore }) => notBefore && (state === 'waiting' || state === 'sending')),
		busy,
		expired,
		discard,
		flush,
		overtaken,

		/**
		 * @param {Conversation} conv
		 * @param {string} text
		 * @param {Extras} extras
		 */
		add(conv, text, extras) {
			const { key, kind, name: to, me: from } = conv;
			const now = Date.now();
			/** @type {Unsent} */
			const item = {
				...fresh(),
				...{ key, kind, to, from, text, at: now, ...extras },
				...{ state: 'waiting', since: now, tries: 0, entered: false, notBefore: 0 },
			};
			items.push(item);
			again(conv, item);
		},

		/** @param {EventBody} copy The stored copy of a message. */
		delivered({ client_id, message_id, sender_username }) {
			const item = items.find((each) => each.id === client_id || each.ack?.message_id === message_id);
			if (item && item.from === sender_username) discard(item);
		},

		/**
		 * After the dedupe window, the old id no longer prevents a second copy, so the message gets a new one.
		 * @param {Conversation} conv
		 * @param {Unsent} item
		 */
		retry(conv, item) {
			if (expired(item)) {
				store.drop(item.id);
				Object.assign(item, fresh());
			}
			if (conv.refused) session.enter(conv);
			again(conv, item);
		},
	};
}

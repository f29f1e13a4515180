// Owns the user's messages from Enter to the log: waiting, sending, stored, failed. A message keeps its id over every
// repeat, reconnect and reload, so that the server stores it once; one at a time per conversation, so that none overtakes
// a refused one. Called by the session; the timeline draws what is here below the log.

import { uuid } from './dom.js';

/** A publish that the server can't take now is repeated for so long; then the user decides. */
const KEEP_TRYING = 60_000;
/** A repeat must arrive within the dedupe window, not only leave within it. */
const MARGIN = 10_000;
const PASSING = ['unavailable', 'internal', 'rate_limited'];

export function outbox(session, store) {
	let items = store.unsent().map((item) => ({
		...item,
		state: item.state === 'failed' ? 'failed' : 'waiting',
		unknown: Boolean(item.sentAt),
	}));
	const busy = new Set();

	const of = (conv) => items.filter((item) => item.key === conv.key);
	const expired = (item) => item.unknown && Date.now() - item.sentAt > session.dedupeMs - MARGIN;

	function keep(item, changes) {
		store.keep(Object.assign(item, changes));
		session.changed();
	}

	function discard(item) {
		items = items.filter((each) => each !== item);
		store.drop(item.id);
		session.changed();
	}

	/** Sends what waits, in order, until one has to wait longer. */
	async function flush(conv) {
		if (busy.has(conv.key)) return;
		busy.add(conv.key);
		for (;;) {
			const item = of(conv).find((each) => each.state === 'waiting');
			if (!item || item.notBefore > Date.now() || !session.canSay(conv)) break;
			if (!(await send(conv, item))) break;
		}
		busy.delete(conv.key);
	}

	/** True where the next may follow: also after one that failed, which is the user's to decide on. */
	async function send(conv, item) {
		const fail = (why) => (keep(item, { state: 'failed', why }), true);
		if (expired(item)) return fail('The connection broke before the answer: it may have been sent.');
		keep(item, { state: 'sending', sentAt: item.sentAt ?? Date.now() });
		try {
			stored(conv, item, await session.publish(conv, item.text, item.id));
			return true;
		} catch ({ code, message, outcome, retry_after_ms: wait }) {
			if (code === 'lost' || code === 'internal' || outcome === 'unknown') item.unknown = true;
			else if (!item.unknown) item.sentAt = null;
			if (PASSING.includes(code)) {
				if (Date.now() - item.since > KEEP_TRYING) return fail('The server can’t store messages right now.');
				item.tries = (item.tries ?? 0) + 1;
				wait ??= Math.min(10_000, 500 * 2 ** item.tries) * (0.5 + Math.random() / 2);
				item.notBefore = Date.now() + wait;
				setTimeout(flush, wait + 5, conv);
			} else if (code === 'not_in_room' && !item.entered) {
				item.entered = true;
				session.enter(conv);
			} else if (!['lost', 'offline', 'unauthorized'].includes(code)) {
				return fail(message);
			}
			keep(item, { state: 'waiting' });
			return false;
		}
	}

	function stored(conv, item, ack) {
		store.drop(item.id);
		if (conv.ids.has(ack.message_id)) return discard(item);
		Object.assign(item, { state: 'stored', at: ack.sent_at, ack });
		overtaken(conv);
		session.changed();
	}

	/** Stored messages whose copy should have come by now, but lay in a gap. */
	function overtaken(conv) {
		const position = session.positionOf(conv);
		for (const item of of(conv)) {
			if (item.state !== 'stored' || item.ack.epoch !== position?.epoch || item.ack.seq > position.seq) continue;
			conv.insert({ ...item.ack, sender_username: item.from, content: item.text });
			discard(item);
		}
	}

	return {
		of,
		expired,
		discard,
		flush,
		overtaken,
		keys: () => new Set(items.map((item) => item.key)),
		unsent: () => items.filter((item) => item.state !== 'stored').length,

		add(conv, text) {
			const at = Date.now();
			const item = { id: uuid(), key: conv.key, from: conv.me, text, at, since: at, sentAt: null, state: 'waiting' };
			items.push(item);
			store.keep(item);
			flush(conv);
		},

		/** The sender's own copy has come: it is in the log, whatever was thought of it. */
		delivered({ client_id, message_id, sender_username }) {
			const item = items.find((each) => each.id === client_id || each.ack?.message_id === message_id);
			if (item?.from === sender_username) discard(item);
		},

		/** Past the dedupe window the old id protects no more; the user has read that it may be there twice. */
		retry(conv, item) {
			if (expired(item)) {
				store.drop(item.id);
				Object.assign(item, { id: uuid(), sentAt: null, unknown: false });
			}
			keep(item, { state: 'waiting', since: Date.now(), entered: false, notBefore: 0 });
			flush(conv);
		},
	};
}
